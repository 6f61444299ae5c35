/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics of all workers as Prometheus text (exposition format 0.0.4). Control thread. */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include "proxy/admin.h"

/* Appends it all to out, in blocks of pool. */
void metrics_write(const struct admin_view *view, struct buf_pool *pool, struct chain *out);

#endif
