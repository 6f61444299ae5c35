/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints that are found while weir runs: a file of them, registrations, or what a source makes
 * of its own answers. Owns the memory of sets until the last one lets go of them. Control thread.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "config/bind.h"
#include "config/config.h"
#include "config/emit.h"
#include "config/errors.h"
#include "config/mem.h"
#include "config/rows.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/names.h"

static const struct schema_row file_rows[] = {
    {.key = "endpoints",
     .shape = SHAPE_LIST,
     .flags = ROW_REQUIRED,
     .items = &schema_endpoints,
     .offset = FIELD(config_endpoints, items, struct config_endpoint *),
     .count_offset = FIELD(config_endpoints, count, size_t),
     .doc = "The addresses that requests are spread over."},
};

static const struct schema_table file_table = {
    .expected = "a list of endpoints, or a mapping that has one as endpoints",
    ROWS(file_rows),
    .short_key = "endpoints",
};

static const struct schema_row file_row = {.shape = SHAPE_TABLE, .table = &file_table};

static struct config_endpoints *set_new(void)
{
    struct config_mem *mem = config_mem_new();
    struct config_endpoints *set = config_mem_alloc(mem, 1, sizeof(*set));
    set->mem = mem;
    set->refs = 1;
    return set;
}

struct config_endpoints *config_endpoints_new(size_t count)
{
    struct config_endpoints *set = set_new();
    set->count = count;
    set->items = config_mem_alloc(set->mem, count, sizeof(set->items[0]));
    return set;
}

static struct config_addr address_of(struct config_mem *mem, const char *host, uint16_t port)
{
    const char *format = strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u";
    return (struct config_addr){
        .text = config_mem_printf(mem, format, host, port),
        .kind = CONFIG_ADDR_TCP,
        .host = config_mem_dup(mem, host, strlen(host)),
        .port = port,
    };
}

void config_endpoints_put(struct config_endpoints *set, size_t index, const char *host,
                          uint16_t port, uint32_t weight, uint32_t priority)
{
    CHECK(index < set->count && set->refs == 1);
    struct config_endpoint *e = &set->items[index];
    e->address = address_of(set->mem, host, port);
    e->weight = weight;
    e->priority = priority;
}

void config_endpoints_also(struct config_endpoints *set, size_t index, const char *host)
{
    CHECK(index < set->count && set->refs == 1);
    struct config_endpoint *e = &set->items[index];
    e->also = address_of(set->mem, host, e->address.port);
}

void config_endpoints_place(struct config_endpoints *set, size_t index, const char *zone,
                            bool drain)
{
    CHECK(index < set->count && set->refs == 1);
    if (zone != NULL)
        set->items[index].zone = config_mem_dup(set->mem, zone, strlen(zone));
    set->items[index].drain = drain;
}

void config_endpoints_done(struct config_endpoints *set)
{
    set->hash = emit_hash(&file_row, set);
}

struct config_endpoints *config_endpoints_ref(struct config_endpoints *set)
{
    set->refs++;
    return set;
}

void config_endpoints_unref(struct config_endpoints *set)
{
    if (set == NULL)
        return;
    CHECK(set->refs > 0);
    if (--set->refs == 0)
        config_mem_free(set->mem);
}

/* ---- a file of them ---- */

static bool is_known(const struct config_addr *addr)
{
    struct in6_addr ip;
    return addr->text == NULL || addr->kind == CONFIG_ADDR_UNIX ||
           inet_pton(AF_INET, addr->host, &ip) == 1 || inet_pton(AF_INET6, addr->host, &ip) == 1;
}

/* To look names up takes a while, and what they lead to changes without whoever says them. */
static void check_host(struct bind *b, const struct config_addr *addr)
{
    if (!is_known(addr))
        bind_error(
            b, addr->pos,
            "%s: endpoints that are found have addresses and no names; for a name that leads "
            "to them a pool has dns",
            bind_quote(b, addr->text));
}

static void check_hosts(struct bind *b, const struct config_endpoint *e)
{
    check_host(b, &e->address);
    check_host(b, &e->also);
    check_host(b, &e->health);
}

static void check_set(struct bind *b, const void *obj)
{
    const struct config_endpoints *set = obj;
    for (size_t i = 0; i < set->count; i++)
        check_hosts(b, &set->items[i]);
    schema_check_zones(b, set->items, set->count);
}

/* Binds a text that is no configuration: *obj to mem. False: added to errs. */
static bool load(const char *name, struct span text, const struct schema_row *row,
                 struct config_mem *mem, void *obj, void (*check)(struct bind *, const void *obj),
                 struct config_errors *errs)
{
    struct config_errors found = {0};
    struct bind b = {.mem = mem, .scratch = config_mem_new(), .errs = &found, .verbatim = true};
    const char *file = config_mem_dup(mem, name, strlen(name));
    const struct tree_node *root = tree_parse(b.scratch, file, text.ptr, text.len, &found);
    if (root != NULL && bind_object(&b, row, root, obj))
        check(&b, obj);
    config_mem_free(b.scratch);
    bool ok = found.errors == 0;
    config_errors_move(errs, &found);
    return ok;
}

int config_endpoints_load(const char *name, const char *bytes, size_t len,
                          struct config_endpoints **out, struct config_errors *errs)
{
    struct config_endpoints *set = set_new();
    bool ok = load(name, span_of(bytes, len), &file_row, set->mem, set, check_set, errs);
    if (!ok)
        config_endpoints_unref(TAKE(set));
    else
        config_endpoints_done(set);
    *out = set;
    return ok ? 0 : -1;
}

/* ---- registrations ---- */

bool config_registration_id_ok(const char *id)
{
    size_t len = strlen(id);
    for (size_t i = 0; i < len; i++) {
        char c = id[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == ':' || c == '-'))
            return false;
    }
    return len > 0 && len <= 128 && strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

static void check_registration(struct bind *b, const void *obj)
{
    const struct config_registration *r = obj;
    check_hosts(b, &r->endpoint);
}

static int load_own(const char *name, struct span text, const struct schema_row *row, void *obj,
                    void (*check)(struct bind *, const void *), struct config_mem **mem,
                    struct config_errors *errs)
{
    *mem = config_mem_new();
    if (load(name, text, row, *mem, obj, check, errs))
        return 0;
    config_mem_free(TAKE(*mem));
    return -1;
}

int config_registration_load(const char *name, const char *bytes, size_t len,
                             struct config_registration *out, struct config_mem **mem,
                             struct config_errors *errs)
{
    *out = (struct config_registration){.id = NULL};
    return load_own(name, span_of(bytes, len), &schema_registration, out, check_registration, mem,
                    errs);
}

uint64_t config_registration_hash(const struct config_registration *r)
{
    return emit_hash(&schema_registration, r);
}

/* ---- the state of them ---- */

static const struct schema_items registrations = {
    .size = sizeof(struct config_registration),
    .elem = &schema_registered,
    .what = "one registration",
};

static const struct schema_row registered_name = {STRING(NULL, config_registered_pool, name),
                                                  .accept = grammar_name, .expected = "a name"};

static const struct schema_row registered_list = {
    .shape = SHAPE_LIST,
    .items = &registrations,
    .offset = FIELD(config_registered_pool, items, struct config_registration *),
    .count_offset = FIELD(config_registered_pool, count, size_t),
};

static const struct schema_items registered_pools = {
    .size = sizeof(struct config_registered_pool),
    .name = &registered_name,
    .elem = &registered_list,
    .what = "one pool",
};

static const struct schema_row state_rows[] = {
    {INT("version", config_registered, version), .flags = ROW_REQUIRED, .min = 1, .max = 1,
     .doc = "The version of this format: 1."},
    {.key = "pools",
     .shape = SHAPE_MAP,
     .items = &registered_pools,
     .offset = FIELD(config_registered, pools, struct config_registered_pool *),
     .count_offset = FIELD(config_registered, count, size_t),
     .doc = "Who is registered."},
};

static const struct schema_table state_table = {
    .expected = "a mapping that begins with version: 1", ROWS(state_rows), .own = true};

static const struct schema_row state_row = {.shape = SHAPE_TABLE, .table = &state_table};

static void check_registered(struct bind *b, const void *obj)
{
    const struct config_registered *r = obj;
    for (size_t i = 0; i < r->count; i++)
        for (size_t k = 0; k < r->pools[i].count; k++)
            check_registration(b, &r->pools[i].items[k]);
}

int config_registered_load(const char *name, const char *bytes, size_t len,
                           struct config_registered *out, struct config_mem **mem,
                           struct config_errors *errs)
{
    *out = (struct config_registered){.version = 0};
    return load_own(name, span_of(bytes, len), &state_row, out, check_registered, mem, errs);
}

void config_registered_dump(const struct config_registered *r, FILE *out)
{
    emit_row(out, &state_row, r);
}

/* ---- one of many that come one by one ---- */

static const struct schema_row one_row = {.shape = SHAPE_TABLE, .table = &schema_endpoint};

/* Where the strings of a copy go. */
struct place {
    struct config_mem *mem; /* NULL: to at, one behind the other */
    char *at;
};

static const char *copy(struct place *p, const char *text)
{
    if (text == NULL)
        return NULL;
    size_t size = strlen(text) + 1;
    char *to = p->mem != NULL ? config_mem_alloc(p->mem, size, 1) : p->at;
    CHECK(to != NULL);
    p->at += p->mem != NULL ? 0 : size;
    return memcpy(to, text, size);
}

static struct config_addr copy_addr(struct place *p, const struct config_addr *from)
{
    return (struct config_addr){
        .text = copy(p, from->text),
        .kind = from->kind,
        .host = copy(p, from->host),
        .path = copy(p, from->path),
        .port = from->port,
    };
}

static void copy_endpoint(struct place *p, struct config_endpoint *to,
                          const struct config_endpoint *from)
{
    *to = *from;
    to->pos = (struct config_pos){0};
    to->address = copy_addr(p, &from->address);
    to->also = copy_addr(p, &from->also);
    to->zone = copy(p, from->zone);
    to->health = copy_addr(p, &from->health);
}

static size_t size_of(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static size_t addr_size(const struct config_addr *addr)
{
    return size_of(addr->text) + size_of(addr->host) + size_of(addr->path);
}

static struct config_endpoint *pack(const struct config_endpoint *from)
{
    size_t strings = addr_size(&from->address) + addr_size(&from->also) + size_of(from->zone) +
                     addr_size(&from->health);
    struct config_endpoint *to = mem_need(malloc(sizeof(*to) + strings));
    copy_endpoint(&(struct place){.at = (char *)(to + 1)}, to, from);
    return to;
}

struct config_endpoint *config_endpoint_load(const char *name, const char *bytes, size_t len,
                                             struct config_errors *errs)
{
    struct config_mem *mem = config_mem_new();
    struct config_endpoint *one = config_mem_alloc(mem, 1, sizeof(*one)), *packed = NULL;
    struct config_errors found = {0};
    struct bind b = {.mem = mem, .scratch = mem, .errs = &found, .verbatim = true};
    const struct tree_node *root = tree_parse(mem, name, bytes, len, &found);
    if (root != NULL && bind_object(&b, &one_row, root, one))
        check_hosts(&b, one);
    if (found.errors == 0)
        packed = pack(one);
    config_errors_move(errs, &found);
    config_mem_free(mem);
    return packed;
}

struct config_endpoints *config_endpoints_join(const struct config_endpoint *const *items,
                                               size_t count, struct config_errors *errs)
{
    struct config_endpoints *set = config_endpoints_new(count);
    struct place place = {.mem = set->mem};
    struct bind b = {.mem = set->mem, .scratch = set->mem, .errs = errs};
    struct names names = {0};
    size_t errors = errs->errors;
    for (size_t i = 0; i < count; i++)
        names_add(&names, items[i]->address.text, (int32_t)i);
    names_sort(&names);
    set->count = 0;
    for (size_t i = 0; i < count; i++)
        if (names_find(&names, items[i]->address.text) == (int32_t)i)
            copy_endpoint(&place, &set->items[set->count++], items[i]);
    names_fini(&names);
    schema_check_zones(&b, set->items, set->count);
    if (errs->errors > errors)
        config_endpoints_unref(TAKE(set));
    else
        config_endpoints_done(set);
    return set;
}

struct config_endpoints *config_endpoints_copy(const struct config_endpoint *items, size_t count)
{
    struct config_endpoints *set = config_endpoints_new(count);
    struct place place = {.mem = set->mem};
    for (size_t i = 0; i < count; i++)
        copy_endpoint(&place, &set->items[i], &items[i]);
    config_endpoints_done(set);
    return set;
}

/* ---- in a pool ---- */

bool config_pool_discovers(const struct config_pool *pool)
{
    return pool->dns.enabled || pool->etcd.enabled || pool->file.text != NULL ||
           pool->kubernetes.enabled || pool->registry.enabled;
}

struct config_pool config_pool_with(const struct config_pool *pool,
                                    const struct config_endpoints *set)
{
    struct config_pool with = *pool;
    CHECK(config_pool_discovers(pool));
    with.endpoints = set != NULL ? set->items : NULL;
    with.endpoint_count = set != NULL ? set->count : 0;
    schema_give_queue(&with);
    return with;
}
