/* SPDX-License-Identifier: Apache-2.0 */
/* From the configuration of retries to what workers use. For runtime.c; control thread. */
#ifndef WEIR_RUNTIME_RETRY_H
#define WEIR_RUNTIME_RETRY_H

struct config_retry;
struct config_retry_budget;
struct lb_budget;
struct retry_rule;

void runtime_retry(const struct config_retry *from, struct retry_rule *to);

/* One for all workers; NULL: there is no bound. */
struct lb_budget *runtime_retry_budget(const struct config_retry_budget *from, unsigned workers);

#endif
