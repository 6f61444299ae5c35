/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compares the endpoints of each pool every outlier.interval (balancer/outlier.h), and says in the
 * log whom outlier detection puts out and takes back. Control thread, but for outlier_tell.
 */
#ifndef WEIR_OUTLIER_WATCH_H
#define WEIR_OUTLIER_WATCH_H

#include <uv.h>

#include "proxy/snapshot.h"

struct outlier_watch;

/* Of no pool yet. Never NULL. */
struct outlier_watch *outlier_watch_new(uv_loop_t *loop);

/* Watches pools[0..n), which must live until the next call, and no others. */
void outlier_watch_use(struct outlier_watch *watch, struct pool_spec *const *pools, size_t n);

/* Stops; the loop must run before outlier_watch_free. NULL is fine for both. */
void outlier_watch_close(struct outlier_watch *watch);
void outlier_watch_free(struct outlier_watch *watch);

/* Logs how an endpoint stands, after that has changed. Any thread. */
void outlier_tell(const struct pool_spec *pool, uint32_t index, uint64_t now_us);

#endif
