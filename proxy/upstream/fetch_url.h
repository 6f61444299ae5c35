/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of servers that weir itself asks (fetch.h). Pure; any thread. */
#ifndef WEIR_UPSTREAM_FETCH_URL_H
#define WEIR_UPSTREAM_FETCH_URL_H

#include <stdbool.h>
#include <stdint.h>

#define FETCH_HOST_MAX 253
#define FETCH_PATH_MAX 1024

struct fetch_url {
    bool tls; /* https */
    bool ip;  /* the host is an address */
    uint16_t port;
    char host[FETCH_HOST_MAX + 1]; /* in lower case; IPv6 without brackets */
    char path[FETCH_PATH_MAX + 1]; /* goes before every target: "" or "/a/b", no '/' at its end */
};

/* "http://host", "https://[::1]:6443/a/b/". Neither userinfo nor a query nor a fragment is taken.
 * False with *why set: a static text that goes behind what was read ("... is no URL: it has ...").
 */
bool fetch_url_parse(struct fetch_url *url, const char *text, const char **why);

/* As Host has it: with the port unless it is the scheme's own. Returns out. */
#define FETCH_AUTHORITY (FETCH_HOST_MAX + 10)
const char *fetch_url_authority(const struct fetch_url *url, char out[FETCH_AUTHORITY]);

#endif
