/* SPDX-License-Identifier: Apache-2.0 */
/* From the configuration of retries to what workers use. Owns nothing. Control thread. */
#include "proxy/runtime_retry.h"

#include "balancer/budget.h"
#include "config/config.h"

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
