/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what TLS is made of. Owns nothing that lives; control thread. */
#include "proxy/tls_source.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/watch/file_state.h"

#define TLS_SET_MAGIC MAGIC('t', 'l', 's', 's')

struct tls_set {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct tls_certs *certs; /* NULL: a pool that shows none */
    struct tls_trust *ca;    /* NULL: the other side is not verified */
    uint64_t state;          /* of the files, before they were read */
};

uint64_t tls_source_state(const struct tls_source *source)
{
    const char *const others[] = {source->key, source->ca, source->ocsp};
    uint64_t states = 0;
    for (size_t i = 0; i < source->n_certs; i++)
        states = file_state_mix(states, file_state(source->certs[i]));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i] != NULL)
            states = file_state_mix(states, file_state(others[i]));
    return states;
}

uint64_t tls_set_state(const struct tls_set *set)
{
    return set->state;
}

uint64_t tls_set_key_state(const struct tls_set *set)
{
    uint64_t states = 0;
    size_t n = set->certs != NULL ? tls_certs_count(set->certs) : 0;
    for (size_t i = 0; i < n; i++)
        states = file_state_mix(states, file_state(tls_certs_at(set->certs, i)->key_file));
    return states;
}

/* ---- reading ---- */

static struct tls_certs *read_certs(const struct tls_source *source, char **error)
{
    return source->key != NULL ? tls_certs_load_pair(source->certs[0], source->key, error)
                               : tls_certs_load(source->certs, source->n_certs, error);
}

static bool set_read(struct tls_set *set, const struct tls_source *source,
                     struct tls_problem *error)
{
    error->part = TLS_PART_CERTS;
    if (source->n_certs > 0 && (set->certs = read_certs(source, &error->text)) == NULL)
        return false;
    error->part = TLS_PART_CA;
    bool verifies = source->ca != NULL || (source->is_client && !source->client.no_verify);
    return !verifies || (set->ca = tls_trust_load(source->ca, &error->text)) != NULL;
}

static bool set_works(const struct tls_set *set, const struct tls_source *source, char **error)
{
    struct tls_ctx *tried = source->is_client
                                ? tls_client_ctx_base(tls_set_client(set, &source->client, error))
                                : tls_server_ctx_base(tls_set_server(set, &source->server, error));
    bool works = tried != NULL;
    tls_ctx_unref(tried);
    return works;
}

struct tls_set *tls_set_load(const struct tls_source *source, struct tls_problem *error,
                             struct tls_problem *warning)
{
    struct tls_set *set = mem_need(calloc(1, sizeof(*set)));
    set->magic = TLS_SET_MAGIC;
    atomic_init(&set->refs, 1);
    set->state = tls_source_state(source);
    bool ok = set_read(set, source, error);
    if (ok && source->ocsp != NULL) {
        warning->part = TLS_PART_OCSP;
        tls_certs_staple(set->certs, source->ocsp, &warning->text);
    }
    if (ok) {
        error->part = TLS_PART_CONTEXT;
        ok = set_works(set, source, &error->text);
    }
    if (!ok)
        tls_set_unref(TAKE(set));
    return set;
}

/* ---- life ---- */

struct tls_set *tls_set_ref(struct tls_set *set)
{
    CHECK(set->magic == TLS_SET_MAGIC);
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void tls_set_unref(struct tls_set *set)
{
    if (set == NULL)
        return;
    CHECK(set->magic == TLS_SET_MAGIC);
    if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    tls_certs_unref(set->certs);
    tls_trust_free(set->ca);
    set->magic = 0;
    free(set);
}

static void free_text(const char *text)
{
    free((char *)(uintptr_t)text);
}

void tls_source_set(struct tls_source *source, struct tls_set *set)
{
    tls_set_unref(source->set);
    source->set = set;
}

struct tls_source *tls_source_ref(struct tls_source *source)
{
    source->refs++;
    return source;
}

void tls_source_unref(struct tls_source *source)
{
    if (source == NULL)
        return;
    CHECK(source->refs > 0);
    if (--source->refs > 0)
        return;
    tls_set_unref(source->set);
    if (source->is_client) {
        free_text(source->client.server_name);
    } else {
        tls_tickets_unref(source->server.tickets);
        if (source->server.keylog_fd > 0)
            close(source->server.keylog_fd);
    }
    for (size_t i = 0; i < source->n_certs; i++)
        free_text(source->certs[i]);
    free(source->certs);
    free_text(source->name);
    free_text(source->key);
    free_text(source->ca);
    free_text(source->ocsp);
    free(source);
}

/* ---- what is made of it ---- */

const struct tls_certs *tls_set_certs(const struct tls_set *set)
{
    return set->certs;
}

struct tls_server_ctx *tls_set_server(const struct tls_set *set,
                                      const struct tls_server_options *options, char **error)
{
    struct tls_server_options all = *options;
    all.client_ca = set->ca;
    return tls_server_ctx_new(&all, set->certs, error);
}

struct tls_client_ctx *tls_set_client(const struct tls_set *set,
                                      const struct tls_client_options *options, char **error)
{
    struct tls_client_options all = *options;
    all.ca = set->ca;
    all.cert = set->certs;
    all.files = set->state;
    return tls_client_ctx_new(&all, error);
}
