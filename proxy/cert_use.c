/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts for those who use certificates. Owns nothing: what it makes is theirs. Control thread.
 */
#include "proxy/cert_use.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

/* NULL with *error. */
static struct tls_client_ctx *make_check_tls(struct pool_view *view, const struct tls_set *set,
                                             char **error)
{
    struct tls_client_options options = pool_tls_options(view);
    struct tls_client_ctx *ctx = tls_set_client(set, &options, error);
    if (ctx == NULL && *error == NULL)
        *error = mem_need(strdup("out of memory"));
    return ctx;
}

bool cert_use_checks(struct health *health, struct pool_spec *const *pools, size_t n)
{
    char *error = NULL;
    for (size_t i = 0; i < n && error == NULL; i++) {
        struct pool_view *view = health_tls_view(health, i);
        if (view == NULL || pool_secured(view))
            continue;
        struct tls_client_ctx *ctx = make_check_tls(view, pools[i]->source->set, &error);
        if (ctx != NULL)
            pool_secure(view, ctx);
        else
            log_error("pool \"%s\": %s", pools[i]->name, error);
    }
    bool ok = error == NULL;
    free(error);
    return ok;
}

/* The view of the checks of what is at index; NULL: there are none over TLS. */
static struct pool_view *checks_of(const struct cert_use *use, size_t index)
{
    size_t n = use->snapshot->n_listeners;
    return index < n ? NULL : health_tls_view(use->health, index - n);
}

bool cert_use_swap(const struct cert_use *use, size_t index, const struct tls_set *set)
{
    const struct tls_source *source = use->snapshot->tls[index];
    unsigned n = use->n_workers, made = 0;
    struct tls_ctx **contexts = mem_need(calloc(n, sizeof(struct tls_ctx *)));
    struct tls_client_ctx *checks = NULL;
    char *error = NULL;
    while (made < n && (contexts[made] = snapshot_view_make_tls(use->workers[made].latest, index,
                                                                set, &error)) != NULL)
        made++;
    struct pool_view *view = checks_of(use, index);
    if (made == n && view != NULL)
        checks = make_check_tls(view, set, &error);
    bool ok = made == n && error == NULL;
    if (!ok)
        log_error("%s \"%s\": %s", source->kind, source->name, error);
    free(error);
    if (checks != NULL)
        pool_secure(view, checks);
    for (unsigned i = 0; i < made; i++) {
        if (ok)
            worker_swap_tls(&use->workers[i], index, contexts[i]);
        else
            tls_ctx_unref(contexts[i]);
    }
    free(contexts);
    return ok;
}
