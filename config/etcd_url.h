/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key of etcd as one word of a command line:
 *
 *   etcd://HOST[:PORT][,HOST[:PORT]].../KEY[?NAME=VALUE[&NAME=VALUE]...]
 *
 * etcds:// is TLS. The key begins with the slash. The names are ca, cert, key and sni (of etcds),
 * user, password_file. Nothing is escaped. Pure; any thread.
 */
#ifndef WEIR_CONFIG_ETCD_URL_H
#define WEIR_CONFIG_ETCD_URL_H

#include <stdbool.h>

#include "config/config.h"

#define ETCD_PORT 2379

struct etcd_url {
    struct config_etcd etcd; /* prefix is the key; silence_ms is that of the schema */
    struct config_addr servers[CONFIG_ETCD_SERVERS_MAX];
    char *name; /* for messages: without what is behind '?' */
    char *text; /* that the strings are in */
};

/* Whether it is meant to be one. */
bool etcd_url_is(const char *text);

/* False with *why, a static text. Freed by etcd_url_fini in either case; not to be moved. */
bool etcd_url_parse(struct etcd_url *url, const char *text, const char **why);
void etcd_url_fini(struct etcd_url *url);

#endif
