/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges in traces. Owns nothing; must cost next to nothing unless the trace is recorded.
 * Worker's thread. */
#include "proxy/exchange_trace.h"

#include <string.h>

#include "proxy/trace/record.h"

void exchange_trace(struct exchange *x)
{
    struct lb_rng *rng = &x->worker->rng;
    const uint64_t random[] = {lb_rng_next(rng), lb_rng_next(rng), lb_rng_next(rng)};
    x->traced = true;
    trace_begin(x->request, &x->trace, &x->snapshot->sampler, random);
    x->recorded = x->trace.sampled && x->snapshot->traces_to != NULL;
}

static uint64_t new_span(struct exchange *x)
{
    uint64_t id = lb_rng_next(&x->worker->rng);
    return id | (id == 0);
}

void exchange_trace_attempt(struct attempt *a)
{
    a->span = new_span(a->exchange);
    trace_within(&a->exchange->trace, a->span);
}

uint64_t exchange_trace_span(const struct attempt *a)
{
    return a->span != 0 ? a->span : new_span(a->exchange);
}

static bool is_https(const struct exchange *x)
{
    struct http_field *said = http_head_find(x->request, FIELD_X_FORWARDED_PROTO);
    struct span list, first;
    if (!x->peer->trusted || said == NULL)
        return x->peer->tls != NULL;
    list = field_value(said);
    return span_next_element(&list, &first) && span_eq_nocase(first, SPAN_LIT("https"));
}

/* All lines of the client's tracestate in one; one that is too long is as good as none. */
static struct span state_of(const struct exchange *x, char out[TRACE_STATE_MAX])
{
    size_t len = 0;
    for (unsigned i = 0; x->trace.has_parent && i < x->request->n_fields; i++) {
        const struct http_field *f = &x->request->fields[i];
        if (!span_eq_nocase(field_name(f), SPAN_LIT("tracestate")) || f->value_len == 0)
            continue;
        size_t comma = len > 0;
        if (len + comma + f->value_len > TRACE_STATE_MAX)
            return span_of(NULL, 0);
        if (comma)
            out[len++] = ',';
        memcpy(out + len, f->value, f->value_len);
        len += f->value_len;
    }
    return span_of(out, len);
}

void exchange_trace_tell(const struct exchange *x, const struct flight *f)
{
    char state[TRACE_STATE_MAX];
    const struct http_field *agent = http_head_find(x->request, FIELD_USER_AGENT);
    trace_ring_put(x->worker->traces, f, is_https(x), state_of(x, state),
                   agent != NULL ? field_value(agent) : span_of(NULL, 0));
}
