/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a listener's TLS is made of: the files it names, and what was read from them. The first is
 * part of a snapshot and never changes; the second is a set, counted, which is replaced by another
 * when the files change (cert_watch.h). Files are read on the control thread.
 */
#ifndef WEIR_LISTENER_TLS_H
#define WEIR_LISTENER_TLS_H

#include "proxy/net/tls_ctx.h"

struct tls_set;

struct listener_tls {
    const char **certs; /* files or directories; own memory, as all below */
    size_t n_certs;
    const char *client_ca, *ocsp;      /* or NULL */
    struct tls_server_options options; /* but client_ca, which is the set's; tickets: of all sets,
                                          unless clients are verified */
    struct tls_set *set;               /* as read when the snapshot was made */
};

/* What could not be read. */
enum tls_part {
    TLS_PART_CERTS,
    TLS_PART_CLIENT_CA,
    TLS_PART_OCSP,
    TLS_PART_CONTEXT, /* OpenSSL refuses what was read */
};

struct tls_problem {
    enum tls_part part;
    char *text; /* malloc'd, names the file; NULL: there is none */
};

/* Reads the files and makes a context of them, to see that it can be done. NULL with *error set. An
 * OCSP response that is no good is left out, with *warning set: it expires by itself, and without
 * it clients ask elsewhere. Both start as {0}; their texts are the caller's to free. */
struct tls_set *tls_set_load(const struct listener_tls *tls, struct tls_problem *error,
                             struct tls_problem *warning);

/* Counted; any thread. Returns set. */
struct tls_set *tls_set_ref(struct tls_set *set);
/* The last one frees it. NULL is fine. */
void tls_set_unref(struct tls_set *set);

/* The set's own; valid as long as it. */
const struct tls_certs *tls_set_certs(const struct tls_set *set);

/* The state (file_state.h) of the files that are named, now; and as it was before the set was read
 * from them. */
uint64_t listener_tls_state(const struct listener_tls *tls);
uint64_t tls_set_state(const struct tls_set *set);

/* The state now of the keys that were found beside the certificates. */
uint64_t tls_set_key_state(const struct tls_set *set);

/* A context for one worker. NULL with *error set to malloc'd text. */
struct tls_server_ctx *tls_set_context(const struct tls_set *set, const struct listener_tls *tls,
                                       char **error);

/* Frees it, its set and its tickets, and closes its key log. NULL is fine. */
void listener_tls_free(struct listener_tls *tls);

#endif
