/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that register themselves, and who asks for them. Owns nothing; what is registered is
 * registry.c's. Control thread. */
#include "proxy/admin_registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/admin_body.h"
#include "proxy/admin_guard.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/registry.h"
#include "proxy/reply.h"

#define BODY_MAX ((size_t)16 << 10)
#define ID_ROOM  130 /* one byte more than an id may have, and the NUL */

/* /registry/POOL/ID, as far as it goes. */
struct place {
    const struct pool_spec *pool; /* NULL: of all */
    char id[ID_ROOM];             /* "": of all of the pool */
};

/* ---- answers ---- */

struct told {
    const struct admin_view *view;
    const struct pool_spec *pool;
    const char *id;
};

static void write_text(struct json *j, const char *key, const char *text)
{
    json_key(j, key);
    if (text != NULL)
        json_cstring(j, text);
    else
        json_null(j);
}

static void write_number(struct json *j, const char *key, uint64_t n)
{
    json_key(j, key);
    json_u64(j, n);
}

static void write_flag(struct json *j, const char *key, bool on)
{
    json_key(j, key);
    json_bool(j, on);
}

static void write_entry(struct json *j, const struct registry_entry *e)
{
    json_object_begin(j);
    write_text(j, "id", e->id);
    write_text(j, "address", e->address);
    write_number(j, "weight", e->weight);
    write_text(j, "zone", e->zone);
    write_number(j, "priority", e->priority);
    write_flag(j, "backup", e->backup);
    write_flag(j, "drain", e->drain);
    write_number(j, "ttl_ms", e->ttl_ms);
    write_number(j, "left_ms", e->left_ms);
    write_flag(j, "overdue", e->overdue);
    json_object_end(j);
}

static void write_one(struct json *j, const void *ctx)
{
    const struct told *t = ctx;
    struct registry_entry e;
    if (registry_find(t->view->registry, t->pool->name, t->id, &e))
        write_entry(j, &e);
    json_raw(j, "\n", 1);
}

static void write_pool(struct json *j, const struct told *t, const struct pool_spec *pool)
{
    struct registry_entry e;
    struct registry_counts counts;
    registry_counts(t->view->registry, pool->name, &counts);
    json_object_begin(j);
    write_text(j, "pool", pool->name);
    write_number(j, "max", pool->from->max);
    json_key(j, "registrations");
    json_array_begin(j);
    for (size_t i = 0; registry_at(t->view->registry, pool->name, i, &e); i++)
        write_entry(j, &e);
    json_array_end(j);
    write_number(j, "overdue", counts.overdue);
    write_number(j, "registered", counts.registered);
    write_number(j, "renewed", counts.renewed);
    write_number(j, "changed", counts.changed);
    write_number(j, "removed", counts.removed);
    write_number(j, "replaced", counts.replaced);
    write_number(j, "expired", counts.expired);
    json_object_end(j);
}

static void write_its_pool(struct json *j, const void *ctx)
{
    const struct told *t = ctx;
    write_pool(j, t, t->pool);
    json_raw(j, "\n", 1);
}

static bool is_registry(const struct pool_spec *pool)
{
    return pool->from != NULL && pool->from->kind == &source_registry;
}

static void write_all(struct json *j, const void *ctx)
{
    const struct told *t = ctx;
    const struct snapshot *snap = t->view->snapshot;
    struct registry_saved saved;
    registry_saved(t->view->registry, &saved);
    json_object_begin(j);
    json_key(j, "state");
    json_object_begin(j);
    write_text(j, "file", saved.path);
    write_text(j, "error", saved.error);
    json_object_end(j);
    json_key(j, "pools");
    json_array_begin(j);
    for (size_t i = 0; i < snap->n_pools; i++)
        if (is_registry(snap->pools[i]))
            write_pool(j, t, snap->pools[i]);
    json_array_end(j);
    json_object_end(j);
    json_raw(j, "\n", 1);
}

static void refuse(const struct admin_ask *ask, enum registry_refusal why, unsigned status,
                   const char *text)
{
    registry_refuse(ask->view->registry, why);
    admin_say(ask, status, "%s", text);
}

/* Somebody else's is the registry now, or nobody's. */
static void refuse_held(const struct admin_ask *ask)
{
    static const struct reply_field soon = {SPAN_LIT("Retry-After"), SPAN_LIT("1")};
    if (ask->view->registry != NULL)
        registry_refuse(ask->view->registry, REGISTRY_REFUSED_HELD);
    admin_refuse(ask, 503, &soon, "another process takes over: come again in a second\n");
}

/* ---- PUT ---- */

struct putting {
    char pool[256], id[ID_ROOM];
    uint32_t max;
};

static const struct pool_spec *pool_named(const struct snapshot *snap, const char *name)
{
    for (size_t i = 0; i < snap->n_pools; i++)
        if (strcmp(snap->pools[i]->name, name) == 0)
            return snap->pools[i];
    return NULL;
}

static void say_put(const struct admin_ask *ask, const struct putting *p, enum registry_done done,
                    const char *wrong)
{
    const struct told t = {ask->view, pool_named(ask->view->snapshot, p->pool), p->id};
    if (done == REGISTRY_FULL)
        admin_say(ask, 429,
                  "the pool has its %u registrations (registry.max), or all pools have %u\n",
                  p->max, REGISTRY_ALL_MAX);
    else if (done == REGISTRY_INVALID)
        admin_text(ask, 422, SPAN_LIT("text/plain; charset=utf-8"), span_str(wrong));
    else if (done == REGISTRY_ZONES)
        admin_say(ask, 422, "the endpoints of a pool are in 31 zones at most\n");
    else
        admin_json(ask, done == REGISTRY_NEW ? 201 : 200, write_one, &t);
}

static void on_body(const struct admin_ask *ask, void *ctx, struct span body)
{
    const struct putting *p = ctx;
    const struct pool_spec *pool = pool_named(ask->view->snapshot, p->pool);
    if (ask->view->registry == NULL || registry_held(ask->view->registry)) {
        refuse_held(ask);
    } else if (pool == NULL || !is_registry(pool)) {
        refuse(ask, REGISTRY_REFUSED_POOL, 404, "the pool has gone in the meantime\n");
    } else {
        char *wrong;
        enum registry_done done =
            registry_put(ask->view->registry, p->pool, p->max, p->id, body, &wrong);
        say_put(ask, p, done, wrong);
        free(wrong);
    }
}

static bool put(const struct admin_ask *ask, const struct place *at)
{
    if (ask->request->body == BODY_NONE) {
        refuse(ask, REGISTRY_REFUSED_INVALID, 400,
               "the body is to be such as {\"address\": \"10.0.0.1:8080\", \"ttl\": \"30s\"}\n");
        return true;
    }
    struct putting *p = mem_need(calloc(1, sizeof(*p)));
    snprintf(p->pool, sizeof(p->pool), "%s", at->pool->name);
    memcpy(p->id, at->id, sizeof(p->id));
    p->max = at->pool->from->max;
    admin_body(ask, BODY_MAX, on_body, p);
    return false;
}

/* ---- who asks for what ---- */

static void forget(const struct admin_ask *ask, const struct place *at)
{
    if (registry_remove(ask->view->registry, at->pool->name, at->id))
        admin_say(ask, 200, "%s is not registered any more\n", at->id);
    else
        admin_say(ask, 404, "%s is not registered\n", at->id);
}

static void show(const struct admin_ask *ask, const struct place *at)
{
    const struct told t = {ask->view, at->pool, at->id};
    struct registry_entry e;
    if (at->pool == NULL)
        admin_json(ask, 200, write_all, &t);
    else if (at->id[0] == '\0')
        admin_json(ask, 200, write_its_pool, &t);
    else if (registry_find(ask->view->registry, at->pool->name, at->id, &e))
        admin_json(ask, 200, write_one, &t);
    else
        admin_say(ask, 404, "%s is not registered; /registry/%s lists who is\n", at->id,
                  at->pool->name);
}

static bool change(const struct admin_ask *ask, const struct place *at)
{
    bool puts = span_eq(ask->request->method, SPAN_LIT("PUT"));
    bool one = at->id[0] != '\0';
    if (!one || (!puts && !span_eq(ask->request->method, SPAN_LIT("DELETE")))) {
        reply_not_allowed(ask->reactor, ask->stream,
                          one ? SPAN_LIT("GET, HEAD, PUT, DELETE") : SPAN_LIT("GET, HEAD"));
        return true;
    }
    if (!admin_guard_write(ask))
        return true;
    if (puts && !registry_held(ask->view->registry))
        return put(ask, at);
    if (puts || registry_held(ask->view->registry))
        refuse_held(ask);
    else
        forget(ask, at);
    return true;
}

static const struct pool_spec *find_pool(const struct snapshot *snap, struct span segment)
{
    for (size_t i = 0; i < snap->n_pools; i++)
        if (admin_segment_is(segment, span_str(snap->pools[i]->name)))
            return snap->pools[i];
    return NULL;
}

/* False, and answered: nobody can be registered there. */
static bool find(const struct admin_ask *ask, struct place *at)
{
    struct span rest = ask->request->path, segment;
    (void)span_next_piece(&rest, '/', &segment);
    (void)span_next_piece(&rest, '/', &segment);
    if (!span_next_piece(&rest, '/', &segment))
        return true;
    if (segment.len == 0) { /* as of POOL/.., once that is resolved */
        refuse(ask, REGISTRY_REFUSED_INVALID, 400, "/registry/POOL/ID: " REGISTRY_ID_GRAMMAR "\n");
        return false;
    }
    at->pool = find_pool(ask->view->snapshot, segment);
    if (at->pool == NULL || !is_registry(at->pool)) {
        refuse(ask, REGISTRY_REFUSED_POOL, 404,
               at->pool == NULL ? "no such pool; /registry lists those that one can register for\n"
                                : "the pool's endpoints are not registered: it has no registry\n");
        return false;
    }
    if (!span_next_piece(&rest, '/', &segment))
        return true;
    admin_decode(segment, at->id, sizeof(at->id));
    if (config_registration_id_ok(at->id) && rest.ptr == NULL)
        return true;
    refuse(ask, REGISTRY_REFUSED_INVALID, 400, REGISTRY_ID_GRAMMAR "\n");
    return false;
}

bool admin_registry(const struct admin_ask *ask)
{
    struct place at = {.pool = NULL};
    if (ask->view->registry == NULL) {
        admin_say(ask, 503, "shutting down\n");
        return true;
    }
    if (!find(ask, &at))
        return true;
    if (!span_eq(ask->request->method, SPAN_LIT("GET")) && !ask->request->is_head)
        return change(ask, &at);
    show(ask, &at);
    return true;
}
