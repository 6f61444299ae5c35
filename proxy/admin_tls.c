/* SPDX-License-Identifier: Apache-2.0 */
/* The admin listener's certificates in use. Owns its context, and a timer that looks at the files;
 * must never give up what works for what does not. Control thread. */
#include "proxy/admin_tls.h"

#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define LOOK_MS 2000

struct admin_tls {
    const struct tls_source *source;
    struct tls_server_ctx *ctx;
    struct tls_set *set; /* that it is made of */
    uint64_t reloads, errors;
    bool failed;    /* to use the files as they are now */
    uint64_t state; /* of the files that were tried last */
    uv_timer_t look;
};

static void log_problem(struct tls_problem *problem)
{
    log_error("admin listener: %s; the certificates that it has stay in use",
              problem->text != NULL ? problem->text : "out of memory");
    free(TAKE(problem->text));
}

/* Replaces the context by one of the set. */
static bool use(struct admin_tls *t, struct tls_set *set)
{
    struct tls_problem error = {0};
    struct tls_server_ctx *ctx = tls_set_server(set, &t->source->server, &error.text);
    if (ctx == NULL) {
        log_problem(&error);
        return false;
    }
    tls_server_ctx_free(t->ctx);
    tls_set_unref(t->set);
    t->ctx = ctx;
    t->set = tls_set_ref(set);
    return true;
}

static void on_look(uv_timer_t *timer)
{
    struct admin_tls *t = CONTAINER_OF(timer, admin_tls, look);
    uint64_t state = tls_source_state(t->source);
    if (state == t->state)
        return;
    t->state = state;
    struct tls_problem error = {0}, warning = {0};
    struct tls_set *set = tls_set_load(t->source, &error, &warning);
    free(warning.text);
    if (set == NULL)
        log_problem(&error);
    t->failed = set == NULL || !use(t, set);
    t->reloads += !t->failed;
    t->errors += t->failed;
    if (!t->failed)
        log_info("admin listener: the certificates that changed are in use");
    tls_set_unref(set);
}

struct admin_tls *admin_tls_new(uv_loop_t *loop, const struct tls_source *source)
{
    struct admin_tls *t = mem_need(calloc(1, sizeof(*t)));
    t->source = source;
    t->state = tls_set_state(source->set);
    if (!use(t, source->set)) {
        free(t);
        return NULL;
    }
    uv_timer_init(loop, &t->look);
    uv_timer_start(&t->look, on_look, LOOK_MS, LOOK_MS);
    return t;
}

struct tls_server_ctx *admin_tls_ctx(const struct admin_tls *t)
{
    return t->ctx;
}

size_t admin_certs_count(const struct admin_view *view)
{
    return snapshot_n_tls(view->snapshot) + 1;
}

bool admin_certs_at(const struct admin_view *view, size_t index, struct cert_status *out)
{
    const struct admin_tls *own = view->own_tls;
    if (index < snapshot_n_tls(view->snapshot))
        return cert_watch_status(view->certs, index, out);
    if (own == NULL)
        return false;
    *out = (struct cert_status){
        .source = own->source,
        .certs = tls_set_certs(own->set),
        .reloads = own->reloads,
        .errors = own->errors,
        .failed = own->failed,
    };
    return true;
}

void admin_tls_close(struct admin_tls *t)
{
    if (t != NULL)
        uv_close((uv_handle_t *)&t->look, NULL);
}

void admin_tls_free(struct admin_tls *t)
{
    if (t == NULL)
        return;
    tls_server_ctx_free(t->ctx);
    tls_set_unref(t->set);
    free(t);
}
