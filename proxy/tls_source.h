/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the TLS of a listener or of a pool is made of: the files it names, and what was read from
 * them. The first is part of snapshots, counted, and never changes but for its set: that is counted
 * too, and replaced by another when the files change (cert_watch.h). Files are read on the control
 * thread.
 */
#ifndef WEIR_TLS_SOURCE_H
#define WEIR_TLS_SOURCE_H

#include "proxy/net/tls_ctx.h"

struct tls_set;

struct tls_source {
    uint32_t refs;
    const char *kind;   /* "listener", "pool" or "admin": in words and as a label; static */
    const char *name;   /* own memory, as all below */
    const char **certs; /* files or directories; of a pool: one file at most */
    size_t n_certs;
    const char *key;                      /* of a pool's certificate; NULL: in the same file */
    const char *ca;                       /* whom to trust; NULL: the other side is not verified */
    const char *ocsp;                     /* or NULL */
    bool is_client;                       /* it is a pool's */
    union {                               /* all that does not come from the files */
        struct tls_server_options server; /* tickets: of all sets */
        struct tls_client_options client;
    };
    struct tls_set *set; /* as read last */
};

/* What could not be read. */
enum tls_part {
    TLS_PART_CERTS,
    TLS_PART_CA,
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
struct tls_set *tls_set_load(const struct tls_source *source, struct tls_problem *error,
                             struct tls_problem *warning);

/* Counted; any thread. Returns set. */
struct tls_set *tls_set_ref(struct tls_set *set);
/* The last one frees it. NULL is fine. */
void tls_set_unref(struct tls_set *set);

/* The set's own, valid as long as it; NULL: a pool's that has none. */
const struct tls_certs *tls_set_certs(const struct tls_set *set);

/* The state (file_state.h) of the files that are named, now; and as it was before the set was read
 * from them. */
uint64_t tls_source_state(const struct tls_source *source);
uint64_t tls_set_state(const struct tls_set *set);

/* The state now of the keys that were found beside the certificates. */
uint64_t tls_set_key_state(const struct tls_set *set);

/* A context for one worker: the options with what the set has. NULL with *error set to malloc'd
 * text. */
struct tls_server_ctx *tls_set_server(const struct tls_set *set,
                                      const struct tls_server_options *options, char **error);
struct tls_client_ctx *tls_set_client(const struct tls_set *set,
                                      const struct tls_client_options *options, char **error);

/* It has that set from now on, which is taken over. */
void tls_source_set(struct tls_source *source, struct tls_set *set);

/* Counted; control thread. Returns source. */
struct tls_source *tls_source_ref(struct tls_source *source);
/* The last one frees it, its set and its tickets, and closes its key log. NULL is fine. */
void tls_source_unref(struct tls_source *source);

#endif
