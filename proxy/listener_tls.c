/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what a listener's TLS is made of. Owns nothing that lives; control thread. */
#include "proxy/listener_tls.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/file_state.h"

#define TLS_SET_MAGIC MAGIC('t', 'l', 's', 's')

struct tls_set {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct tls_certs *certs;
    struct tls_trust *client_ca; /* NULL: clients are not asked */
    struct tls_tickets *tickets;
    uint64_t state; /* of the files, before they were read */
};

uint64_t listener_tls_state(const struct listener_tls *tls)
{
    uint64_t states = 0;
    for (size_t i = 0; i < tls->n_certs; i++)
        states = file_state_mix(states, file_state(tls->certs[i]));
    if (tls->client_ca != NULL)
        states = file_state_mix(states, file_state(tls->client_ca));
    if (tls->ocsp != NULL)
        states = file_state_mix(states, file_state(tls->ocsp));
    return states;
}

uint64_t tls_set_state(const struct tls_set *set)
{
    return set->state;
}

uint64_t tls_set_key_state(const struct tls_set *set)
{
    uint64_t states = 0;
    for (size_t i = 0; i < tls_certs_count(set->certs); i++)
        states = file_state_mix(states, file_state(tls_certs_at(set->certs, i)->key_file));
    return states;
}

static bool set_read(struct tls_set *set, const struct listener_tls *tls, struct tls_problem *error)
{
    error->part = TLS_PART_CERTS;
    set->certs = tls_certs_load(tls->certs, tls->n_certs, &error->text);
    if (set->certs == NULL)
        return false;
    error->part = TLS_PART_CLIENT_CA;
    if (tls->client_ca != NULL)
        set->client_ca = tls_trust_load(tls->client_ca, &error->text);
    return tls->client_ca == NULL || set->client_ca != NULL;
}

/* A session that is resumed brings its verdict on the client's certificate along, so those that
 * other authorities have vouched for must not be. */
static struct tls_tickets *set_tickets(const struct listener_tls *tls)
{
    return tls->client_ca != NULL ? tls_tickets_new() : tls_tickets_ref(tls->options.tickets);
}

struct tls_set *tls_set_load(const struct listener_tls *tls, struct tls_problem *error,
                             struct tls_problem *warning)
{
    struct tls_set *set = mem_need(calloc(1, sizeof(*set)));
    set->magic = TLS_SET_MAGIC;
    atomic_init(&set->refs, 1);
    set->state = listener_tls_state(tls);
    bool ok = set_read(set, tls, error);
    if (ok && tls->ocsp != NULL) {
        warning->part = TLS_PART_OCSP;
        tls_certs_staple(set->certs, tls->ocsp, &warning->text);
    }
    if (ok) {
        error->part = TLS_PART_CONTEXT;
        set->tickets = set_tickets(tls);
        struct tls_server_ctx *tried = tls_set_context(set, tls, &error->text);
        ok = tried != NULL;
        tls_server_ctx_free(tried);
    }
    if (!ok)
        tls_set_unref(TAKE(set));
    return set;
}

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
    tls_trust_free(set->client_ca);
    tls_tickets_unref(set->tickets);
    set->magic = 0;
    free(set);
}

const struct tls_certs *tls_set_certs(const struct tls_set *set)
{
    return set->certs;
}

struct tls_server_ctx *tls_set_context(const struct tls_set *set, const struct listener_tls *tls,
                                       char **error)
{
    struct tls_server_options options = tls->options;
    options.client_ca = set->client_ca;
    options.tickets = set->tickets;
    return tls_server_ctx_new(&options, set->certs, error);
}

void listener_tls_free(struct listener_tls *tls)
{
    if (tls == NULL)
        return;
    tls_set_unref(tls->set);
    tls_tickets_unref(tls->options.tickets);
    if (tls->options.keylog_fd > 0)
        close(tls->options.keylog_fd);
    for (size_t i = 0; i < tls->n_certs; i++)
        free((char *)(uintptr_t)tls->certs[i]);
    free(tls->certs);
    free((char *)(uintptr_t)tls->client_ca);
    free((char *)(uintptr_t)tls->ocsp);
    free(tls);
}
