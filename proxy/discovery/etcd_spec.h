/* SPDX-License-Identifier: Apache-2.0 */
/* Which keys of which etcd, and who asks: a copy of what was configured. Control thread. */
#ifndef WEIR_DISCOVERY_ETCD_SPEC_H
#define WEIR_DISCOVERY_ETCD_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "proxy/base/span.h"
#include "proxy/upstream/fetch.h"

struct etcd_spec {
    struct fetch_url servers[CONFIG_ETCD_SERVERS_MAX];
    size_t n_servers;
    char *key, *end; /* the first key, and that behind the last; end NULL: key alone */
    size_t end_len;
    bool tls;
    struct fetch_tls secure;    /* its strings are the spec's */
    char *user, *password_file; /* or NULL */
    uint32_t silence_ms;
    size_t max_bytes; /* of an answer, or a message of a watch */
};

/* alone: prefix is a key, and not what many begin with. Never NULL. */
struct etcd_spec *etcd_spec_new(const struct config_etcd *from, bool alone);
/* NULL is fine. */
void etcd_spec_free(struct etcd_spec *spec);

#define ETCD_PASSWORD_MAX 512

/* The user's password, from its file: len bytes, without a line break at its end. False with why,
 * which names the file. */
bool etcd_spec_password(const struct etcd_spec *spec, char text[ETCD_PASSWORD_MAX], size_t *len,
                        char why[256]);

#endif
