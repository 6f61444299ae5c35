/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration has come to. Private to runtime.c, runtime_sockets.c and runtime_tell.c.
 * Control thread. */
#ifndef WEIR_RUNTIME_STATE_H
#define WEIR_RUNTIME_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/net/addr.h"

struct config;
struct config_errors;
struct listen_more;
struct runtime_centre;
struct snapshot;
struct tls_source;

struct runtime {
    struct config *cfg;
    const char *file, *ready_file;
    struct runtime_centre *centre; /* or NULL */
    uint64_t file_state;           /* before cfg was read */
    struct config_errors *errs;
    struct snapshot *snap;         /* of cfg */
    const struct snapshot *before; /* that is in service while this is made; NULL: none */
    struct runtime *next;          /* loaded, to be served; or NULL */
    unsigned n_workers;
    char why[96];
    int *sockets;
    struct listen_more *more; /* sockets that were passed, and are more than workers */
    size_t n_more;
    int admin_socket;
    bool same_cfg;                /* next: cfg is that of what it follows */
    bool serves;                  /* as was told */
    struct tls_source *admin_tls; /* or NULL */
    char *admin_token;            /* of the file, when weir started; or NULL */
    char *registry_token;         /* the same */
    struct net_addr admin;
    int launcher;
};

#endif
