/* SPDX-License-Identifier: Apache-2.0 */
/* From a pool's configuration to the cookies of its sessions. Control thread. */
#ifndef WEIR_RUNTIME_STICKY_H
#define WEIR_RUNTIME_STICKY_H

#include <stdbool.h>

struct config_errors;
struct config_pool;
struct pool_spec;

/* Gives the group of a pool, which is made, its tokens. False with an error added. */
bool runtime_sticky(const struct config_pool *from, struct pool_spec *to,
                    struct config_errors *errs);

#endif
