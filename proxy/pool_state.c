/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to tell of pools. Owns the states that it looked up; changes nothing. Control
 * thread. */
#include "proxy/pool_state.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/mem.h"

void pool_state_init(struct pool_state *state, const struct pool_spec *pool, uint64_t now_us)
{
    uint32_t *weights = mem_need(calloc(pool->n_endpoints, sizeof(*weights)));
    *state = (struct pool_state){
        .pool = pool,
        .now_us = now_us,
        .states = mem_need(calloc(pool->n_endpoints, sizeof(state->states[0]))),
    };
    lb_states(pool->balance, now_us, state->states, weights, &state->shares);
    free(weights);
}

void pool_state_fini(struct pool_state *state)
{
    free(TAKE(state->states));
}

const char *endpoint_name(const struct endpoint_spec *ep, char out[ENDPOINT_NAME])
{
    if (ep->twin == 0)
        return ep->text;
    snprintf(out, ENDPOINT_NAME, "%s#%u", ep->text, ep->twin + 1);
    return out;
}

/* ---- why not ---- */

static uint64_t since(uint64_t now_us, uint64_t then_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

enum lb_exclusion pool_state_excluded(const struct pool_state *state, uint32_t i,
                                      const struct lb_look *look)
{
    const struct lb_state *s = &state->states[i];
    bool others = look != NULL && s->exclusion == LB_IN && look->weights[i] == 0;
    return others ? LB_OUT_SUBSET : s->exclusion;
}

__attribute__((format(printf, 3, 4))) static void put(char text[EXCLUSION_TEXT], size_t *n,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int more = vsnprintf(text + *n, EXCLUSION_TEXT - *n, format, args);
    va_end(args);
    size_t room = EXCLUSION_TEXT - *n;
    *n += (size_t)more < room ? (size_t)more : room - 1;
}

/* "3.2 s", "5 min 20 s", "2 h 3 min". */
static void put_time(char text[EXCLUSION_TEXT], size_t *n, uint64_t us)
{
    uint64_t s = us / 1000000;
    if (s < 60)
        put(text, n, "%.1f s", (double)us / 1e6);
    else if (s < 3600)
        put(text, n, "%u min %u s", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        put(text, n, "%u h %u min", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
}

static void put_marked(const struct pool_state *state, uint32_t i, enum lb_mark mark,
                       const char *what, char text[EXCLUSION_TEXT])
{
    const struct lb_state *s = &state->states[i];
    uint64_t then = s->since_us[__builtin_ctz(mark)];
    size_t n = 0;
    put(text, &n, "%s", what);
    if (then != 0) {
        put(text, &n, ", for ");
        put_time(text, &n, since(state->now_us, then));
    }
    if (mark == LB_EJECTED && s->ejection.until_us > state->now_us) {
        put(text, &n, "; it is asked again in ");
        put_time(text, &n, s->ejection.until_us - state->now_us);
    }
}

const char *pool_state_why(const struct pool_state *state, uint32_t i, const struct lb_look *look,
                           char text[EXCLUSION_TEXT])
{
    const struct lb_state *s = &state->states[i];
    const struct lb_endpoint *ep = &state->pool->endpoints[i].lb;
    char ejection[LB_EJECTION_TEXT];
    size_t n = 0;
    text[0] = '\0';
    switch (pool_state_excluded(state, i, look)) {
    case LB_IN:
    case LB_EXCLUSIONS:
        break;
    case LB_OUT_DRAINED:
        put_marked(state, i, LB_DRAINED, "it is drained", text);
        break;
    case LB_OUT_DOWN:
        put_marked(state, i, LB_DOWN, "its health checks fail", text);
        break;
    case LB_OUT_UNPROVEN:
        put_marked(state, i, LB_UNPROVEN, "no health check has passed yet", text);
        break;
    case LB_OUT_EJECTED:
        put_marked(state, i, LB_EJECTED, lb_ejection_text(&s->ejection, ejection), text);
        break;
    case LB_OUT_WEIGHT:
        put(text, &n, "its weight is 0");
        break;
    case LB_OUT_BACKUP:
        put(text, &n, "it is a backup, and others are usable");
        break;
    case LB_OUT_LEVEL:
        put(text, &n, "it has priority %u, and what comes before carries all requests",
            ep->priority);
        break;
    case LB_OUT_ZONE:
        put(text, &n, "it is in another zone, and weir's own carries all requests");
        break;
    case LB_OUT_SUBSET:
        put(text, &n, "this worker uses %u of the endpoints, and not this one",
            state->pool->balance->options.subset);
        break;
    case LB_OUT_FULL:
        put(text, &n, "it has %u requests in flight, as many as it may", s->in_flight);
        break;
    }
    return text;
}

/* ---- JSON ---- */

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

static void write_exclusion(struct json *j, const struct pool_state *state, uint32_t i,
                            const struct lb_look *look)
{
    enum lb_exclusion why = pool_state_excluded(state, i, look);
    char text[EXCLUSION_TEXT];
    json_key(j, "excluded");
    if (why == LB_IN) {
        json_null(j);
        return;
    }
    json_object_begin(j);
    json_key(j, "why");
    json_cstring(j, lb_exclusion_name(why));
    json_key(j, "text");
    json_cstring(j, pool_state_why(state, i, look, text));
    json_object_end(j);
}

/* JSON has no number for what is none. */
static void write_score(struct json *j, double score)
{
    json_key(j, "score");
    char text[32];
    if (isnan(score)) {
        json_null(j);
        return;
    }
    int n = snprintf(text, sizeof(text), "%.6g", score);
    json_number(j, span_of(text, (size_t)n));
}

void pool_state_write_endpoint(struct json *j, const struct pool_state *state, uint32_t i,
                               const struct lb_look *look)
{
    const struct lb_state *s = &state->states[i];
    const struct endpoint_spec *endpoint = &state->pool->endpoints[i];
    char name[ENDPOINT_NAME], also[NET_ADDR_TEXT];
    json_object_begin(j);
    json_key(j, "address");
    json_cstring(j, endpoint_name(endpoint, name));
    if (endpoint->addr.also != NULL) {
        json_key(j, "also");
        json_string(j, net_addr_print(endpoint->addr.also, also));
    }
    json_key(j, "healthy");
    json_bool(j, s->marks == 0);
    write_exclusion(j, state, i, look);
    write_marks(j, s, state->now_us);
    write_ejection(j, s, state->now_us);
    json_key(j, "weight");
    json_u64(j, s->weight);
    json_key(j, "share_percent");
    json_ms(j, (uint64_t)(s->share * 100000 + 0.5)); /* three decimals */
    json_key(j, "in_flight");
    json_u64(j, s->in_flight);
    json_key(j, "latency_ms");
    json_ms(j, (uint64_t)s->ewma_us);
    if (look != NULL)
        write_score(j, look->scores[i]);
    json_object_end(j);
}

static void write_source(struct json *j, const struct discovery_status *s)
{
    json_key(j, "source");
    json_object_begin(j);
    json_key(j, "from");
    json_cstring(j, s->spec->text);
    json_key(j, "known");
    json_bool(j, s->known);
    json_key(j, "endpoints");
    json_u64(j, s->count);
    json_key(j, "age_ms");
    json_u64(j, s->age_ms);
    json_key(j, "unchanged_ms");
    json_u64(j, s->since_ms);
    json_key(j, "changes");
    json_u64(j, s->changes);
    json_key(j, "errors");
    json_u64(j, s->errors);
    json_key(j, "failing_ms");
    json_u64(j, s->failed_ms);
    json_key(j, "error");
    if (s->error != NULL)
        json_cstring(j, s->error);
    else
        json_null(j);
    json_key(j, "note");
    if (s->note != NULL)
        json_cstring(j, s->note);
    else
        json_null(j);
    json_object_end(j);
}

void pool_state_write(struct json *j, const struct pool_state *state, const struct lb_look *look)
{
    const struct pool_spec *pool = state->pool;
    json_object_begin(j);
    json_key(j, "name");
    json_cstring(j, pool->name);
    json_key(j, "policy");
    json_cstring(j, pool->balance->policy->name);
    if (look != NULL) {
        json_key(j, "score_is");
        json_cstring(j, pool->balance->policy->score_is);
    }
    json_key(j, "panic");
    json_bool(j, state->shares.panic);
    json_key(j, "backups");
    json_bool(j, state->shares.backups);
    if (state->source != NULL)
        write_source(j, state->source);
    json_key(j, "endpoints");
    json_array_begin(j);
    for (uint32_t i = 0; i < pool->n_endpoints; i++)
        pool_state_write_endpoint(j, state, i, look);
    json_array_end(j);
    json_object_end(j);
}
