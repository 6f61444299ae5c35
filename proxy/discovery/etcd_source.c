/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints from etcd, each the value of a key. Owns what is known of every key; must never give up
 * an endpoint because of a value that is no good. Control thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/etcd_mirror.h"
#include "proxy/discovery/source.h"

#define ETCD_SOURCE_MAGIC MAGIC('s', 'r', 'c', 'e')

#define VALUE_MAX 4096  /* bytes of one endpoint */
#define GATHER_MS 20    /* changes that come so close to one another are told at once */
#define AGAIN_MS  10000 /* between lists of more keys than are kept */

struct row {
    char *key; /* len bytes, whatever they are */
    size_t len;
    struct config_endpoint *endpoint; /* of the last good value; or NULL */
    char *why;                        /* the last value was none; or NULL */
    bool listed;                      /* in the list that is read */
};

struct etcd_source {
    struct source base;
    struct etcd_mirror *mirror;
    struct row *rows; /* in the order of their keys */
    size_t count, room;
    bool lists;    /* a list is read */
    bool too_many; /* keys for all to be kept */
    uint64_t listed_ms;
    bool told; /* something, ever */
    uv_timer_t soon;
};

static struct etcd_source *etcd_source_of(void *data)
{
    return CAST_OBJ(etcd_source, data, ETCD_SOURCE_MAGIC);
}

/* ---- rows ---- */

static int order(const struct row *row, struct span key)
{
    size_t both = row->len < key.len ? row->len : key.len;
    int differ = memcmp(row->key, key.ptr, both);
    return differ != 0 ? differ : (row->len > key.len) - (row->len < key.len);
}

/* Where the key is, or belongs. */
static size_t find(const struct etcd_source *s, struct span key, bool *there)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (order(&s->rows[mid], key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *there = low < s->count && order(&s->rows[low], key) == 0;
    return low;
}

static void row_free(struct row *row)
{
    free(row->key);
    free(row->endpoint);
    free(row->why);
}

static void row_remove(struct etcd_source *s, size_t at)
{
    row_free(&s->rows[at]);
    s->count--;
    memmove(&s->rows[at], &s->rows[at + 1], (s->count - at) * sizeof(s->rows[0]));
}

static struct row *row_insert(struct etcd_source *s, size_t at, struct span key)
{
    if (s->count == SOURCE_ENDPOINTS_MAX) {
        s->too_many = true;
        return NULL;
    }
    if (s->count == s->room) {
        s->room = s->room > 0 ? 2 * s->room : 16;
        s->rows = mem_need(realloc(s->rows, s->room * sizeof(s->rows[0])));
    }
    memmove(&s->rows[at + 1], &s->rows[at], (s->count - at) * sizeof(s->rows[0]));
    s->rows[at] = (struct row){.key = mem_need(malloc(key.len + 1)), .len = key.len};
    memcpy(s->rows[at].key, key.ptr, key.len);
    s->count++;
    return &s->rows[at];
}

static void print_key(const struct row *row, char *out, size_t room)
{
    size_t n = row->len < room - 1 ? row->len : room - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = row->key[i] < ' ' || row->key[i] > '~' ? '?' : row->key[i];
    out[n] = '\0';
}

static void read_value(struct row *row, struct span value)
{
    struct config_errors errs = {0};
    struct config_endpoint *endpoint = NULL;
    char why[SOURCE_WHY], name[300];
    print_key(row, name, sizeof(name));
    free(TAKE(row->why));
    if (value.len > VALUE_MAX)
        snprintf(why, sizeof(why), "%s: %zu bytes, and an endpoint has %d at most", name, value.len,
                 VALUE_MAX);
    else if ((endpoint = config_endpoint_load(name, value.ptr, value.len, &errs)) == NULL)
        source_first_error(&errs, why);
    config_errors_free(&errs);
    if (endpoint == NULL) {
        row->why = mem_need(strdup(why));
        return;
    }
    free(row->endpoint);
    row->endpoint = endpoint;
}

/* ---- telling ---- */

static void on_soon(uv_timer_t *timer);

static bool tell_set(struct etcd_source *s, const struct config_endpoint **items, size_t n)
{
    struct config_errors errs = {0};
    char why[SOURCE_WHY];
    struct config_endpoints *all = config_endpoints_join(items, n, &errs);
    if (all != NULL)
        s->base.events->answered(&s->base, all, n == 0 ? "no key begins with the prefix" : NULL);
    else
        s->base.events->failed(&s->base, source_first_error(&errs, why));
    config_errors_free(&errs);
    return all != NULL;
}

static void tell_bad(struct etcd_source *s, const char *first, size_t bad)
{
    char why[SOURCE_WHY];
    int n = snprintf(why, sizeof(why), "%.900s", first);
    if (bad > 1)
        snprintf(why + n, sizeof(why) - (size_t)n, " (and %zu more keys)", bad - 1);
    s->base.events->failed(&s->base, why);
}

/* All that are good; and then, what is not. */
static void tell(struct etcd_source *s)
{
    const struct config_endpoint **items = mem_need(calloc(s->count + 1, sizeof(*items)));
    const char *first = NULL;
    size_t n = 0, bad = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct row *row = &s->rows[i];
        if (row->endpoint != NULL)
            items[n++] = row->endpoint;
        if (row->why != NULL && bad++ == 0)
            first = row->why;
    }
    bool taken = (n == 0 && bad > 0) || tell_set(s, items, n);
    if (taken && bad > 0)
        tell_bad(s, first, bad);
    free(items);
}

/* Of those that are kept one has gone: whether it was one of too many, only a list tells. */
static void look_again(struct etcd_source *s)
{
    uint64_t now = uv_now(s->soon.loop), next = s->listed_ms + AGAIN_MS;
    if (now >= next)
        etcd_mirror_ask(s->mirror);
    else
        uv_timer_start(&s->soon, on_soon, next - now, 0);
}

static void tell_too_many(struct etcd_source *s)
{
    char why[160];
    snprintf(why, sizeof(why),
             "more than %u keys begin with the prefix: give it one that fewer have, or the pool's "
             "services one each",
             SOURCE_ENDPOINTS_MAX);
    s->base.events->failed(&s->base, why);
}

static void tell_now(struct etcd_source *s)
{
    s->told = true;
    if (!s->too_many)
        tell(s);
    else if (s->count < SOURCE_ENDPOINTS_MAX)
        look_again(s);
    else
        tell_too_many(s);
}

static void on_soon(uv_timer_t *timer)
{
    tell_now(etcd_source_of(timer->data));
}

/* ---- what etcd says ---- */

static void on_lists(void *ctx)
{
    struct etcd_source *s = etcd_source_of(ctx);
    s->lists = true;
    s->too_many = false;
    for (size_t i = 0; i < s->count; i++)
        s->rows[i].listed = false;
}

static void on_put(void *ctx, const struct etcd_kv *kv)
{
    struct etcd_source *s = etcd_source_of(ctx);
    bool there;
    size_t at = find(s, kv->key, &there);
    if (kv->deleted) {
        if (there)
            row_remove(s, at);
        return;
    }
    struct row *row = there ? &s->rows[at] : row_insert(s, at, kv->key);
    if (row == NULL)
        return;
    row->listed = true;
    read_value(row, kv->value);
}

static void drop_unlisted(struct etcd_source *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->rows[i].listed)
            s->rows[kept++] = s->rows[i];
        else
            row_free(&s->rows[i]);
    s->count = kept;
}

static void on_current(void *ctx)
{
    struct etcd_source *s = etcd_source_of(ctx);
    if (s->lists) {
        drop_unlisted(s);
        s->listed_ms = uv_now(s->soon.loop);
    }
    s->lists = false;
    if (!uv_is_active((uv_handle_t *)&s->soon))
        uv_timer_start(&s->soon, on_soon, s->told ? GATHER_MS : 0, 0);
}

static void on_failed(void *ctx, const char *why)
{
    struct etcd_source *s = etcd_source_of(ctx);
    if (uv_is_active((uv_handle_t *)&s->soon)) { /* it came before */
        uv_timer_stop(&s->soon);
        if (!s->too_many)
            tell_now(s);
    }
    s->base.events->failed(&s->base, why);
}

static const struct etcd_mirror_events mirror_events = {
    .lists = on_lists, .put = on_put, .current = on_current, .failed = on_failed};

/* ---- life ---- */

static struct source *etcd_start(const struct source_world *world, struct source_spec *spec,
                                 const struct source_events *events, void *owner)
{
    struct etcd_source *s = mem_need(calloc(1, sizeof(*s)));
    s->base = (struct source){ETCD_SOURCE_MAGIC, spec, events, owner};
    uv_timer_init(&world->reactor->loop, &s->soon);
    s->soon.data = s;
    s->mirror = etcd_mirror_new(world->reactor, spec->etcd, &mirror_events, s);
    return &s->base;
}

static void etcd_ask(struct source *source)
{
    etcd_mirror_ask(etcd_source_of(source)->mirror);
}

static void on_closed(uv_handle_t *handle)
{
    struct etcd_source *s = etcd_source_of(handle->data);
    for (size_t i = 0; i < s->count; i++)
        row_free(&s->rows[i]);
    free(s->rows);
    source_spec_unref(s->base.spec);
    s->base.magic = 0;
    free(s);
}

static void etcd_stop(struct source *source)
{
    struct etcd_source *s = etcd_source_of(source);
    etcd_mirror_end(TAKE(s->mirror));
    uv_close((uv_handle_t *)&s->soon, on_closed);
}

const struct source_kind source_etcd = {
    .name = "etcd", .start = etcd_start, .ask = etcd_ask, .stop = etcd_stop};
