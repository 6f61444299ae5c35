/* SPDX-License-Identifier: Apache-2.0 */
/* From the configuration of retries to what workers use. Owns nothing. Control thread. */
#include "proxy/runtime_retry.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/budget.h"
#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/retry.h"

static void add_condition(struct retry_rule *rule, const char *text)
{
    static const struct {
        const char *name;
        enum retry_on on;
    } words[] = {
        {"connect", RETRY_ON_CONNECT},
        {"reset", RETRY_ON_RESET},
        {"timeout", RETRY_ON_TIMEOUT},
        {"unavailable", RETRY_ON_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(words[i].name, text) == 0) {
            rule->on |= words[i].on;
            return;
        }
    unsigned i = (unsigned)strtoul(text, NULL, 10) - RETRY_STATUS_MIN;
    CHECK(i <= RETRY_STATUS_MAX - RETRY_STATUS_MIN); /* config knows no others */
    rule->statuses[i / 64] |= UINT64_C(1) << i % 64;
}

static struct span method_of(const char *text)
{
    return strcmp(text, "POST") == 0 ? SPAN_LIT("POST") : SPAN_LIT("PATCH");
}

void runtime_retry(const struct config_retry *from, struct retry_rule *to)
{
    *to = (struct retry_rule){
        .attempts = from->attempts,
        .on = from->when_count == 0 ? RETRY_ON_DEFAULT : 0,
        .backoff_ms = (uint32_t)from->backoff_ms,
        .max_backoff_ms = (uint32_t)from->max_backoff_ms,
        .retry_after_ms = (uint32_t)from->retry_after_ms,
        .same_endpoint = from->same_endpoint,
        .n_methods = (uint32_t)from->method_count,
    };
    CHECK(from->method_count <= RETRY_METHODS);
    for (size_t i = 0; i < from->when_count; i++)
        add_condition(to, from->when[i].text);
    for (size_t i = 0; i < from->method_count; i++)
        to->methods[i] = method_of(from->methods[i].text);
}

struct lb_budget *runtime_retry_budget(const struct config_retry_budget *from, unsigned workers)
{
    if (from->ratio == CONFIG_RATIO_ANY)
        return NULL;
    struct lb_budget_rule rule = {
        .percent = from->ratio,
        .min_rate = from->min,
        .window_us = from->window_ms * 1000,
    };
    return lb_budget_new(&rule, workers);
}
