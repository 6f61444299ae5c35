/* SPDX-License-Identifier: Apache-2.0 */
/* The families of metrics by topic, for metrics.c. Each appends those of its topic. Control
 * thread. */
#ifndef WEIR_METRICS_FAMILIES_H
#define WEIR_METRICS_FAMILIES_H

#include "proxy/admin.h"
#include "proxy/metrics/text.h"

/* Requests by listener, route and pool, and by protocol; their duration; client connections; why
 * exchanges ended. */
void metrics_traffic(struct text *t, const struct admin_view *v);

/* By pool: connections, retries and their budget, hedges, limits and queues, TLS. */
void metrics_pools(struct text *t, const struct admin_view *v);

/* By endpoint: state, share, health, ejections; by pool: panic, health checks, discovery. */
void metrics_endpoints(struct text *t, const struct admin_view *v);

/* By pool: who has registered, and who was refused. */
void metrics_registry(struct text *t, const struct admin_view *v);

/* Handshakes with clients, and certificates. */
void metrics_tls(struct text *t, const struct admin_view *v);

/* Memory by kind, objects, the recorder, the access log, spans, what workers are at, and what the
 * kernel says of the process. */
void metrics_process(struct text *t, const struct admin_view *v);

#endif
