/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is registered, until when. Owns the table of them, their clock and their file; must never
 * take all endpoints away because nobody reaches weir. Control thread.
 */
#include "proxy/discovery/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/registry_file.h"
#include "proxy/discovery/registry_table.h"

#define REGISTRY_MAGIC MAGIC('r', 'e', 'g', 'y')

#define FOREVER UINT64_MAX

struct registry {
    uint32_t magic;
    uv_loop_t *loop;
    struct registry_table table;
    struct list_node readers;
    uint64_t heard_ms; /* when anybody was */
    uint64_t next_ms;  /* when the timer fires; no later than the first is due */
    uv_timer_t due;
    bool held;
    uint64_t refused[REGISTRY_REFUSALS];
    char *path; /* NULL: nothing is kept */
    struct registry_file *file;
    struct config_mem *loaded; /* what was read from the file; or NULL */
};

static struct registry *registry_of(void *data)
{
    return CAST_OBJ(registry, data, REGISTRY_MAGIC);
}

/* ---- telling ---- */

static bool is_read(const struct registry *r, const struct registry_pool *p)
{
    list_for_each (node, &r->readers)
        if (strcmp(CONTAINER_OF(node, registry_reader, link)->pool, p->name) == 0)
            return true;
    return false;
}

static void tell(struct registry *r, const struct registry_pool *p, bool certain)
{
    list_for_each_safe (node, &r->readers) {
        struct registry_reader *reader = CONTAINER_OF(node, registry_reader, link);
        if (strcmp(reader->pool, p->name) == 0)
            reader->changed(reader, certain);
    }
}

static void changed(struct registry *r, const struct registry_pool *p, bool certain)
{
    if (r->file != NULL)
        registry_file_changed(r->file, r->table.all);
    tell(r, p, certain);
}

/* ---- time ---- */

/* Others have been heard of when it should have been; or it has had its second chance. */
static bool is_gone(const struct registry *r, const struct registry_pool *p,
                    const struct registration *e)
{
    return e->reprieved || r->heard_ms + e->what.ttl_ms / 2 >= e->due_ms || !is_read(r, p);
}

static void look_at(struct registry *r, struct registry_pool *p, uint64_t now)
{
    bool lost = false, late = false;
    for (size_t i = p->n; i-- > 0;) {
        struct registration *e = p->entries[i];
        if (e->due_ms > now || e->overdue)
            continue;
        if (is_gone(r, p, e)) {
            log_warn("pool \"%s\": %s at %s has not been heard of for %.3g s and is expired",
                     p->name, e->id, e->what.endpoint.address.text, (double)e->what.ttl_ms / 1000);
            registry_table_drop(&r->table, p, i);
            p->counts.expired++;
            lost = true;
        } else {
            registry_table_overdue(&r->table, p, e, true);
            late = true;
        }
    }
    if (lost)
        changed(r, p, false);
    else if (late)
        tell(r, p, false);
}

static void on_due(uv_timer_t *timer);

static void schedule(struct registry *r, uint64_t due)
{
    uint64_t now = uv_now(r->loop);
    if (due >= r->next_ms)
        return;
    r->next_ms = due;
    uv_timer_start(&r->due, on_due, due > now ? due - now : 0, 0);
}

static void on_due(uv_timer_t *timer)
{
    struct registry *r = registry_of(timer->data);
    r->next_ms = FOREVER;
    for (size_t i = 0; i < r->table.n; i++)
        look_at(r, r->table.pools[i], uv_now(r->loop));
    for (size_t i = 0; i < r->table.n; i++)
        for (size_t k = 0; k < r->table.pools[i]->n; k++)
            if (!r->table.pools[i]->entries[k]->overdue)
                schedule(r, r->table.pools[i]->entries[k]->due_ms);
}

static void renew(struct registry *r, struct registration *e)
{
    e->due_ms = uv_now(r->loop) + e->what.ttl_ms;
    schedule(r, e->due_ms);
}

/* Weir can be reached: those who are overdue have their time to come back. */
static void heard(struct registry *r)
{
    r->heard_ms = uv_now(r->loop);
    for (size_t i = 0; i < r->table.n && r->table.overdue > 0; i++) {
        struct registry_pool *p = r->table.pools[i];
        bool late = false;
        for (size_t k = 0; k < p->n; k++) {
            struct registration *e = p->entries[k];
            if (!e->overdue)
                continue;
            registry_table_overdue(&r->table, p, e, false);
            e->reprieved = late = true;
            renew(r, e);
        }
        if (late)
            tell(r, p, false);
    }
}

/* ---- changes ---- */

/* Whoever else was at its address is no more. */
static void replace(struct registry *r, struct registry_pool *p, const struct registration *e,
                    const struct registration *other)
{
    if (other == NULL)
        return;
    log_info("pool \"%s\": %s has the address of %s, which is forgotten", p->name, e->id,
             other->id);
    registry_table_remove(&r->table, p, other->id);
    p->counts.replaced++;
}

static char *tell_errors(struct config_errors *errs)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = mem_need(open_memstream(&text, &len));
    config_errors_print(errs, out);
    config_errors_free(errs);
    return mem_need(fclose(out) == 0 ? text : NULL);
}

static enum registry_done refused(struct registry *r, enum registry_done done)
{
    static const enum registry_refusal why[] = {[REGISTRY_FULL] = REGISTRY_REFUSED_FULL,
                                                [REGISTRY_ZONES] = REGISTRY_REFUSED_ZONES,
                                                [REGISTRY_INVALID] = REGISTRY_REFUSED_INVALID};
    registry_refuse(r, why[done]);
    return done;
}

/* What would come of it, unless it is a heartbeat. gone: the one of that id, and whoever else is at
 * that address, who makes room; or NULL. */
static enum registry_done judge(const struct registry *r, const struct registry_pool *p,
                                uint32_t max, const struct registration *const gone[2],
                                const struct config_registration *what)
{
    if (gone[0] == NULL && gone[1] == NULL && (p->n >= max || r->table.all >= REGISTRY_ALL_MAX))
        return REGISTRY_FULL;
    if (!registry_pool_fits_zone(p, what->endpoint.zone, gone))
        return REGISTRY_ZONES;
    return gone[0] == NULL ? REGISTRY_NEW : REGISTRY_CHANGED;
}

enum registry_done registry_put(struct registry *r, const char *pool, uint32_t max, const char *id,
                                struct span said, char **wrong)
{
    struct config_registration what;
    struct config_mem *mem;
    struct config_errors errs = {0};
    CHECK(!r->held);
    *wrong = NULL;
    heard(r);
    if (config_registration_load("body", said.ptr, said.len, &what, &mem, &errs) != 0) {
        *wrong = tell_errors(&errs);
        return refused(r, REGISTRY_INVALID);
    }
    struct registry_pool *p = registry_table_need(&r->table, pool);
    struct registration *e = registry_pool_find(p, id);
    bool same = e != NULL && e->hash == config_registration_hash(&what);
    const struct registration *gone[] = {e, same ? NULL
                                                 : registry_pool_at(p, &what.endpoint.address, id)};
    enum registry_done done = same ? REGISTRY_SAME : judge(r, p, max, gone, &what);
    uint64_t *counts[] = {[REGISTRY_NEW] = &p->counts.registered,
                          [REGISTRY_CHANGED] = &p->counts.changed,
                          [REGISTRY_SAME] = &p->counts.renewed};
    if (done == REGISTRY_NEW)
        e = registry_table_add(&r->table, p, id);
    CHECK(e != NULL || done == REGISTRY_FULL || done == REGISTRY_ZONES);
    if (done == REGISTRY_NEW || done == REGISTRY_CHANGED) {
        registration_set(e, &what, mem);
        replace(r, p, e, gone[1]);
        changed(r, p, true);
    } else {
        config_mem_free(mem);
    }
    if (done == REGISTRY_FULL || done == REGISTRY_ZONES)
        return refused(r, done);
    ++*counts[done];
    e->reprieved = false;
    renew(r, e);
    return done;
}

bool registry_remove(struct registry *r, const char *pool, const char *id)
{
    struct registry_pool *p = registry_table_pool(&r->table, pool);
    CHECK(!r->held);
    heard(r);
    if (!registry_table_remove(&r->table, p, id))
        return false;
    p->counts.removed++;
    changed(r, p, true);
    return true;
}

void registry_refuse(struct registry *r, enum registry_refusal why)
{
    r->refused[why]++;
}

uint64_t registry_refused(const struct registry *r, enum registry_refusal why)
{
    return r->refused[why];
}

const char *registry_refusal_name(enum registry_refusal why)
{
    static const char *const names[] = {
        [REGISTRY_REFUSED_FULL] = "full",       [REGISTRY_REFUSED_ZONES] = "zones",
        [REGISTRY_REFUSED_INVALID] = "invalid", [REGISTRY_REFUSED_POOL] = "pool",
        [REGISTRY_REFUSED_HELD] = "held",
    };
    return names[why];
}

bool registry_hold(struct registry *r, void (*settled)(void *ctx), void *ctx)
{
    r->held = true;
    return r->file == NULL || registry_file_hold(r->file, settled, ctx);
}

void registry_release(struct registry *r)
{
    r->held = false;
    if (r->file != NULL)
        registry_file_release(r->file);
}

bool registry_held(const struct registry *r)
{
    return r->held;
}

/* ---- what there is ---- */

static void show(const struct registry *r, const struct registration *e, struct registry_entry *out)
{
    uint64_t now = uv_now(r->loop);
    *out = (struct registry_entry){
        .id = e->id,
        .address = e->what.endpoint.address.text,
        .zone = e->what.endpoint.zone,
        .weight = e->what.endpoint.weight,
        .priority = e->what.endpoint.priority,
        .backup = e->what.endpoint.backup,
        .drain = e->what.endpoint.drain,
        .ttl_ms = e->what.ttl_ms,
        .left_ms = !e->overdue && e->due_ms > now ? e->due_ms - now : 0,
        .overdue = e->overdue,
    };
}

bool registry_at(const struct registry *r, const char *pool, size_t index,
                 struct registry_entry *out)
{
    const struct registry_pool *p = registry_table_pool(&r->table, pool);
    if (p == NULL || index >= p->n)
        return false;
    show(r, p->entries[index], out);
    return true;
}

bool registry_find(const struct registry *r, const char *pool, const char *id,
                   struct registry_entry *out)
{
    const struct registration *e = registry_pool_find(registry_table_pool(&r->table, pool), id);
    if (e != NULL)
        show(r, e, out);
    return e != NULL;
}

void registry_counts(const struct registry *r, const char *pool, struct registry_counts *out)
{
    const struct registry_pool *p = registry_table_pool(&r->table, pool);
    *out = (struct registry_counts){.entries = 0};
    if (p == NULL)
        return;
    *out = p->counts;
    out->entries = p->n;
    out->overdue = p->overdue;
}

void registry_saved(const struct registry *r, struct registry_saved *out)
{
    *out = (struct registry_saved){.path = r->path};
    if (r->file == NULL)
        return;
    out->error = registry_file_error(r->file);
    out->errors = registry_file_errors(r->file);
}

void registry_read(struct registry *r, struct registry_reader *reader)
{
    list_init(&reader->link);
    list_push_back(&r->readers, &reader->link);
}

void registry_read_end(struct registry_reader *reader)
{
    list_unlink(&reader->link);
}

struct config_endpoints *registry_endpoints(const struct registry *r, const char *pool,
                                            size_t *overdue)
{
    const struct registry_pool *p = registry_table_pool(&r->table, pool);
    *overdue = p != NULL ? p->overdue : 0;
    return registry_pool_endpoints(p);
}

/* ---- life ---- */

/* What is twice in it is there once; what is too much, not at all. */
static void take_pool(struct registry *r, const struct config_registered_pool *from)
{
    static const struct registration *const none[2];
    struct registry_pool *p = registry_table_need(&r->table, from->name);
    for (size_t i = 0; i < from->count && r->table.all < REGISTRY_ALL_MAX; i++) {
        const struct config_registration *what = &from->items[i];
        if (registry_pool_find(p, what->id) != NULL ||
            !registry_pool_fits_zone(p, what->endpoint.zone, none))
            continue;
        struct registration *e = registry_table_add(&r->table, p, what->id);
        registration_set(e, what, NULL);
        renew(r, e);
    }
}

static void load(struct registry *r)
{
    struct config_registered all;
    char why[REGISTRY_FILE_WHY];
    if (!registry_file_read(r->path, &all, &r->loaded, why))
        log_error("registry: %s; nobody is registered, and the next change writes it anew", why);
    for (size_t i = 0; i < all.count; i++)
        take_pool(r, &all.pools[i]);
    if (r->table.all > 0)
        log_info("registry: %zu registration%s from %s", r->table.all, r->table.all == 1 ? "" : "s",
                 r->path);
}

static struct config_registered *describe(void *ctx, struct config_mem *mem)
{
    return registry_table_describe(&registry_of(ctx)->table, mem);
}

struct registry *registry_new(uv_loop_t *loop, const char *state)
{
    struct registry *r = mem_need(calloc(1, sizeof(*r)));
    r->magic = REGISTRY_MAGIC;
    r->loop = loop;
    r->next_ms = FOREVER;
    list_init(&r->readers);
    uv_timer_init(loop, &r->due);
    r->due.data = r;
    if (state != NULL) {
        r->path = mem_need(strdup(state));
        load(r);
        r->file = registry_file_new(loop, state, describe, r);
    }
    return r;
}

static void on_closed(uv_handle_t *handle)
{
    struct registry *r = registry_of(handle->data);
    registry_table_fini(&r->table);
    free(r->path);
    config_mem_free(r->loaded);
    r->magic = 0;
    free(r);
}

void registry_end(struct registry *r)
{
    if (r == NULL)
        return;
    CHECK(list_empty(&r->readers));
    registry_file_end(TAKE(r->file));
    uv_close((uv_handle_t *)&r->due, on_closed);
}
