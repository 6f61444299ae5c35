/* SPDX-License-Identifier: Apache-2.0 */
/* From what a pool's configuration says of health checks to what runs them. Control thread. */
#ifndef WEIR_RUNTIME_HEALTH_H
#define WEIR_RUNTIME_HEALTH_H

#include "proxy/upstream/health.h"

struct config_pool;

/* Of a pool that has checks; its endpoints are not set. The caller's: health_spec_free. */
struct health_spec *runtime_health(const struct config_pool *pool);

/* Is any endpoint checked at another address than requests go to? */
bool runtime_health_elsewhere(const struct config_pool *pool);

#endif
