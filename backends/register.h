/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backend announces itself to registries: weir's own (http://HOST:PORT/registry/POOL) or etcd
 * (etcd://HOST:PORT/PREFIX, over its JSON gateway, with a lease). A thread with a loop of its own
 * says so again every third of the TTL, and tries again after 0.8 s and more if a registry cannot
 * be reached.
 */
#ifndef WEIR_BACKENDS_REGISTER_H
#define WEIR_BACKENDS_REGISTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTER_MAX 8 /* registries */

struct register_options {
    const char *urls[REGISTER_MAX];
    size_t n;            /* 0: nobody is told */
    const char *address; /* NULL: where it listens, or, if that is everywhere, the address that
                            leads to the registry */
    const char *id;      /* NULL: host name and port */
    const char *zone;    /* or NULL */
    const char *token;   /* of weir's registry; or NULL */
    uint32_t weight;     /* 0..1000 */
    uint32_t ttl_s;
};

/* A URL that can be registered at? If not, *why is a text that says what can. Any thread. */
bool register_url_ok(const char *url, const char **why);

struct registrar;

/* Begins; bound: where it listens, as listen.h has it. Texts are the caller's, for as long as it
 * runs. NULL: there is no thread to be had. */
struct registrar *registrar_start(const struct register_options *options, const char *program,
                                  const char *bound);

/* Leaves all registries, for which it waits some seconds at most, and frees it. NULL is fine. */
void registrar_leave(struct registrar *r);

#endif
