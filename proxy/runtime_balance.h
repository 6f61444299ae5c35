/* SPDX-License-Identifier: Apache-2.0 */
/* From a pool's configuration to how it is balanced. For runtime.c; control thread. */
#ifndef WEIR_RUNTIME_BALANCE_H
#define WEIR_RUNTIME_BALANCE_H

struct config;
struct config_pool;
struct pool_spec;

/* Sets the endpoints' part that is the balancer's, the group and the key. to: its endpoints are
 * there. */
void runtime_balance(const struct config *cfg, unsigned n_workers, const struct config_pool *from,
                     struct pool_spec *to);

#endif
