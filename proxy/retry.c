/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of retries. Owns nothing; pure; any thread. */
#include "proxy/retry.h"

#include "proxy/http/grpc.h"

enum retry_verdict retry_verdict(const struct retry_facts *f)
{
    enum retry_class class = (enum retry_class)reason_row(f->reason)->retry;
    if (f->committed || !f->replayable || class == RETRY_NEVER)
        return RETRY_NO;
    if (class == RETRY_AGAIN)
        return RETRY_SAME;
    if (class != RETRY_UNSENT && !f->idempotent)
        return RETRY_NO;
    /* A conn that had served before and now died without a word was closed while it was idle. */
    if (f->reused && !f->answered && class != RETRY_ELSEWHERE)
        return RETRY_SAME;
    return f->wanted && f->attempts_left > 0 ? RETRY_OTHER : RETRY_NO;
}

const char *retry_verdict_name(enum retry_verdict verdict)
{
    static const char *const names[] = {"no retry", "again on a fresh connection",
                                        "again at another endpoint"};
    return names[verdict];
}

bool retry_wanted(const struct retry_rule *rule, enum reason reason)
{
    switch (reason_row(reason)->retry) {
    case RETRY_UNSENT:
        return rule->on & RETRY_ON_CONNECT;
    case RETRY_IDEMPOTENT:
        return rule->on & RETRY_ON_RESET;
    case RETRY_ELSEWHERE:
        return rule->on & RETRY_ON_TIMEOUT;
    default:
        return false;
    }
}

enum reason retry_answer(const struct retry_rule *rule, const struct http_head *head)
{
    if (retry_has_status(rule, head->status))
        return REASON_UPSTREAM_STATUS;
    if (rule->on & RETRY_ON_UNAVAILABLE && grpc_unavailable(head))
        return REASON_UPSTREAM_UNAVAILABLE;
    return REASON_NONE;
}

/* A date would need the upstream's clock to be right. */
uint64_t retry_after_ms(struct http_head *head)
{
    const struct http_field *f = http_head_find(head, FIELD_RETRY_AFTER);
    uint64_t seconds = 0;
    if (f == NULL)
        return 0;
    if (f->value_len == 0 || f->value_len > 9)
        return UINT64_MAX;
    for (unsigned i = 0; i < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9')
            return UINT64_MAX;
        seconds = seconds * 10 + (uint64_t)(f->value[i] - '0');
    }
    return seconds * 1000;
}

bool retry_repeatable(const struct retry_rule *rule, struct span method)
{
    for (uint32_t i = 0; i < rule->n_methods; i++)
        if (span_eq(rule->methods[i], method))
            return true;
    return false;
}

bool retry_safe(struct span method)
{
    return span_eq(method, SPAN_LIT("GET")) || span_eq(method, SPAN_LIT("HEAD")) ||
           span_eq(method, SPAN_LIT("OPTIONS"));
}

uint64_t retry_backoff_ms(const struct retry_rule *rule, unsigned n)
{
    uint64_t most = rule->max_backoff_ms;
    uint64_t ms = n < 32 ? (uint64_t)rule->backoff_ms << n : most;
    return ms < most ? ms : most;
}

bool retry_free(enum reason reason)
{
    return reason == REASON_UPSTREAM_GOAWAY;
}
