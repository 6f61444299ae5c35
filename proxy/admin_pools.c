/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools and endpoints for an operator. Owns nothing; must never make a worker wait, whose balancers
 * find out by themselves. Control thread.
 */
#include "proxy/admin_pools.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "balancer/state.h"
#include "proxy/base/json.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/reply.h"

#define WEIGHT_MAX    1000                 /* as in the configuration */
#define ENDPOINT_NAME (NET_ADDR_TEXT + 12) /* an address, and a number if it is there twice */
#define ENDPOINT_JSON 2048

struct page {
    struct reactor *reactor;
    struct stream *stream;
    const struct http_head *request;
    uint64_t now_us;
};

/* ---- answers ---- */

__attribute__((format(printf, 3, 4))) static void say(const struct page *p, unsigned status,
                                                      const char *format, ...)
{
    char text[512];
    struct chain body;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    chain_init(&body);
    chain_copy_in(&body, &p->reactor->bufs, text,
                  (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
    reply_send(p->reactor, p->stream, status, SPAN_LIT("text/plain; charset=utf-8"), &body);
}

static void add(const struct page *p, struct chain *body, const char *text)
{
    chain_copy_in(body, &p->reactor->bufs, text, strlen(text));
}

/* ---- what there is to say ---- */

static const char *name_of(const struct endpoint_spec *ep, char out[ENDPOINT_NAME])
{
    if (ep->twin == 0)
        return ep->text;
    snprintf(out, ENDPOINT_NAME, "%s#%u", ep->text, ep->twin + 1);
    return out;
}

static uint64_t since(uint64_t now_us, uint64_t then_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

static void write_marks(struct json *j, const struct lb_state *state, uint64_t now_us)
{
    json_key(j, "marks");
    json_array_begin(j);
    for (int m = 0; m < LB_MARKS; m++) {
        if (!(state->marks >> m & 1))
            continue;
        json_object_begin(j);
        json_key(j, "mark");
        json_cstring(j, lb_mark_name((enum lb_mark)(1 << m)));
        if (state->since_us[m] != 0) {
            json_key(j, "for_ms");
            json_ms(j, since(now_us, state->since_us[m]));
        }
        json_object_end(j);
    }
    json_array_end(j);
}

static void write_ejection(struct json *j, const struct lb_state *state, uint64_t now_us)
{
    char text[LB_EJECTION_TEXT];
    json_key(j, "ejection");
    if (!(state->marks & LB_EJECTED)) {
        json_null(j);
        return;
    }
    json_object_begin(j);
    json_key(j, "cause");
    json_cstring(j, lb_ejection_text(&state->ejection, text));
    json_key(j, "left_ms");
    json_ms(j, since(state->ejection.until_us, now_us));
    json_object_end(j);
}

static void write_endpoint(const struct page *p, const struct endpoint_spec *ep,
                           const struct lb_state *state, struct chain *body)
{
    char text[ENDPOINT_JSON], name[ENDPOINT_NAME];
    struct json j;
    json_init(&j, text, sizeof(text));
    json_object_begin(&j);
    json_key(&j, "address");
    json_cstring(&j, name_of(ep, name));
    json_key(&j, "healthy");
    json_bool(&j, state->marks == 0);
    write_marks(&j, state, p->now_us);
    write_ejection(&j, state, p->now_us);
    json_key(&j, "weight");
    json_u64(&j, state->weight);
    json_key(&j, "share_percent");
    json_ms(&j, (uint64_t)(state->share * 100000 + 0.5)); /* three decimals */
    json_key(&j, "in_flight");
    json_u64(&j, state->in_flight);
    json_key(&j, "latency_ms");
    json_ms(&j, (uint64_t)state->ewma_us);
    json_object_end(&j);
    CHECK(!json_truncated(&j));
    chain_copy_in(body, &p->reactor->bufs, text, j.len);
}

/* The states of a pool's endpoints, malloc's. */
static struct lb_state *states_of(const struct pool_spec *pool, uint64_t now_us,
                                  struct lb_shares *shares)
{
    uint32_t *weights = mem_need(calloc(pool->n_endpoints, sizeof(*weights)));
    struct lb_state *states = mem_need(calloc(pool->n_endpoints, sizeof(*states)));
    lb_states(pool->balance, now_us, states, weights, shares);
    free(weights);
    return states;
}

static void write_pool(const struct page *p, const struct pool_spec *pool, struct chain *body)
{
    char text[512];
    struct json j;
    struct lb_shares shares;
    struct lb_state *states = states_of(pool, p->now_us, &shares);
    json_init(&j, text, sizeof(text));
    json_object_begin(&j);
    json_key(&j, "name");
    json_cstring(&j, pool->name);
    json_key(&j, "policy");
    json_cstring(&j, pool->balance->policy->name);
    json_key(&j, "panic");
    json_bool(&j, shares.panic);
    json_key(&j, "backups");
    json_bool(&j, shares.backups);
    CHECK(!json_truncated(&j));
    chain_copy_in(body, &p->reactor->bufs, text, j.len);
    add(p, body, ",\"endpoints\":[");
    for (uint32_t i = 0; i < pool->n_endpoints; i++) {
        add(p, body, i > 0 ? ",\n" : "\n");
        write_endpoint(p, &pool->endpoints[i], &states[i], body);
    }
    add(p, body, "]}\n");
    free(states);
}

static void send_json(const struct page *p, struct chain *body)
{
    reply_send(p->reactor, p->stream, 200, SPAN_LIT("application/json"), body);
}

static void show_all(const struct page *p, const struct snapshot *snap)
{
    struct chain body;
    chain_init(&body);
    add(p, &body, "[");
    for (size_t i = 0; i < snap->n_pools; i++) {
        add(p, &body, i > 0 ? "," : "");
        write_pool(p, &snap->pools[i], &body);
    }
    add(p, &body, "]\n");
    send_json(p, &body);
}

static void show_pool(const struct page *p, const struct pool_spec *pool)
{
    struct chain body;
    chain_init(&body);
    write_pool(p, pool, &body);
    send_json(p, &body);
}

static void show_endpoint(const struct page *p, const struct pool_spec *pool, uint32_t i)
{
    struct chain body;
    struct lb_shares shares;
    struct lb_state *states = states_of(pool, p->now_us, &shares);
    chain_init(&body);
    write_endpoint(p, &pool->endpoints[i], &states[i], &body);
    add(p, &body, "\n");
    send_json(p, &body);
    free(states);
}

/* ---- what may be done ---- */

static void drain(const struct page *p, const struct pool_spec *pool, uint32_t i, bool on)
{
    char name[ENDPOINT_NAME];
    bool was = (lb_group_marks(pool->balance, i) & LB_DRAINED) != 0;
    lb_group_mark(pool->balance, i, LB_DRAINED, on, p->now_us);
    if (was != on)
        log_info("pool %s: %s is %s", pool->name, name_of(&pool->endpoints[i], name),
                 on ? "drained, says the admin" : "not drained any more, says the admin");
}

static void set_weight(const struct page *p, const struct pool_spec *pool, uint32_t i,
                       uint32_t weight)
{
    char name[ENDPOINT_NAME];
    (void)p;
    if (lb_group_weight(pool->balance, i) == weight)
        return;
    lb_group_set_weight(pool->balance, i, weight);
    log_info("pool %s: %s has weight %u, says the admin", pool->name,
             name_of(&pool->endpoints[i], name), weight);
}

/* Digits alone, 0 to WEIGHT_MAX. */
static bool weight_of(struct span text, uint32_t *weight)
{
    *weight = 0;
    for (size_t k = 0; k < text.len; k++) {
        if (text.ptr[k] < '0' || text.ptr[k] > '9' || k >= 4)
            return false;
        *weight = *weight * 10 + (uint32_t)(text.ptr[k] - '0');
    }
    return text.len > 0 && *weight <= WEIGHT_MAX;
}

/* ---- who asks for what ---- */

/* A page of somebody's can make a browser send a POST, but not with these fields, nor without
 * Origin: not even one whose name has come to mean our address (DNS rebinding). */
static bool from_a_page(const struct http_head *request)
{
    bool shown = false;
    for (unsigned i = 0; i < request->n_fields; i++) {
        const struct http_field *f = &request->fields[i];
        if (span_eq_nocase(field_name(f), SPAN_LIT("origin")))
            return true;
        struct span value = field_value(f), type;
        shown |= span_eq_nocase(field_name(f), SPAN_LIT("x-weir"));
        shown |= f->id == FIELD_CONTENT_TYPE && span_next_piece(&value, ';', &type) &&
                 span_eq_nocase(type, SPAN_LIT("application/json"));
    }
    return !shown;
}

/* False, and answered: the method is another one. */
static bool reads(const struct page *p)
{
    bool ok = span_eq(p->request->method, SPAN_LIT("GET")) || p->request->is_head;
    if (!ok)
        reply_not_allowed(p->reactor, p->stream, SPAN_LIT("GET, HEAD"));
    return ok;
}

static bool writes(const struct page *p)
{
    if (!span_eq(p->request->method, SPAN_LIT("POST"))) {
        reply_not_allowed(p->reactor, p->stream, SPAN_LIT("POST"));
        return false;
    }
    if (!from_a_page(p->request))
        return true;
    say(p, 403, "this changes something: send the field \"X-Weir: 1\", and no Origin\n");
    return false;
}

/* A path's segments: "", "pools", NAME, "endpoints", ADDRESS, VERB, ARGUMENT. */
enum { AT_POOLS = 1, AT_POOL, AT_ENDPOINTS, AT_ENDPOINT, AT_VERB, AT_ARGUMENT, SEGMENTS };

struct place {
    struct span at[SEGMENTS];
    unsigned n; /* SEGMENTS + 1: there are more */
};

/* place: zeroed. */
static void split(struct place *place, struct span path)
{
    struct span segment;
    while (place->n <= SEGMENTS && span_next_piece(&path, '/', &segment)) {
        if (place->n < SEGMENTS)
            place->at[place->n] = segment;
        place->n++;
    }
}

static void obey(const struct page *p, const struct place *place, const struct pool_spec *pool,
                 uint32_t i)
{
    struct span verb = place->at[AT_VERB];
    bool on = span_eq(verb, SPAN_LIT("drain")), off = span_eq(verb, SPAN_LIT("undrain"));
    bool weigh = span_eq(verb, SPAN_LIT("weight"));
    uint32_t weight = 0;
    if (!(on || off || weigh) || place->n != AT_VERB + (weigh ? 2 : 1)) {
        say(p, 404, "no such verb; there are drain, undrain and weight/N\n");
        return;
    }
    if (!writes(p))
        return;
    if (weigh && !weight_of(place->at[AT_ARGUMENT], &weight)) {
        say(p, 400, "a weight is a number from 0 to %d\n", WEIGHT_MAX);
        return;
    }
    if (weigh)
        set_weight(p, pool, i, weight);
    else
        drain(p, pool, i, on);
    show_endpoint(p, pool, i);
}

/* The normal form has two of 0..9 and A..F behind each %. */
static unsigned digit_of(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Is that the segment, once it is percent-decoded? */
static bool segment_is(struct span segment, const char *text)
{
    for (; segment.len > 0 && *text != '\0'; segment.ptr++, segment.len--, text++) {
        unsigned c = (unsigned char)segment.ptr[0];
        if (c == '%' && segment.len >= 3) {
            c = digit_of(segment.ptr[1]) << 4 | digit_of(segment.ptr[2]);
            segment.ptr += 2;
            segment.len -= 2;
        }
        if (c != (unsigned char)*text)
            return false;
    }
    return segment.len == 0 && *text == '\0';
}

static const struct pool_spec *find_pool(const struct snapshot *snap, struct span segment)
{
    for (size_t i = 0; i < snap->n_pools; i++)
        if (segment_is(segment, snap->pools[i].name))
            return &snap->pools[i];
    return NULL;
}

static int64_t find_endpoint(const struct pool_spec *pool, struct span segment)
{
    char name[ENDPOINT_NAME];
    for (uint32_t i = 0; i < pool->n_endpoints; i++)
        if (segment_is(segment, name_of(&pool->endpoints[i], name)))
            return i;
    return -1;
}

static void page_of_pool(const struct page *p, const struct place *place,
                         const struct pool_spec *pool)
{
    int64_t endpoint = -1;
    if (place->n == AT_POOL + 1) {
        if (reads(p))
            show_pool(p, pool);
        return;
    }
    if (place->n >= AT_ENDPOINT + 1 && span_eq(place->at[AT_ENDPOINTS], SPAN_LIT("endpoints")))
        endpoint = find_endpoint(pool, place->at[AT_ENDPOINT]);
    if (endpoint < 0)
        say(p, 404, "no such endpoint; /pools/%s lists them\n", pool->name);
    else if (place->n > AT_ENDPOINT + 1)
        obey(p, place, pool, (uint32_t)endpoint);
    else if (reads(p))
        show_endpoint(p, pool, (uint32_t)endpoint);
}

bool admin_pools_path(struct span path)
{
    struct span segment;
    return span_next_piece(&path, '/', &segment) && segment.len == 0 &&
           span_next_piece(&path, '/', &segment) && span_eq(segment, SPAN_LIT("pools"));
}

void admin_pools(struct reactor *r, const struct snapshot *snap, struct stream *s,
                 const struct http_head *request)
{
    const struct page p = {r, s, request, uv_hrtime() / 1000};
    const struct pool_spec *pool;
    struct place place = {0};
    split(&place, request->path);
    if (place.n == AT_POOLS + 1) {
        if (reads(&p))
            show_all(&p, snap);
    } else if ((pool = find_pool(snap, place.at[AT_POOL])) != NULL) {
        page_of_pool(&p, &place, pool);
    } else {
        say(&p, 404, "no such pool; /pools lists them\n");
    }
}
