/* SPDX-License-Identifier: Apache-2.0 */
/* From certificates, as they were read, to those who use them: workers and health checks. Control
 * thread. */
#ifndef WEIR_CERT_USE_H
#define WEIR_CERT_USE_H

#include "proxy/upstream/health.h"
#include "proxy/worker.h"

struct cert_use {
    struct worker *workers;
    unsigned n_workers;
    struct health *health;
    const struct snapshot
        *snapshot; /* of the workers' latest views; health checks its pools first */
};

/* Of what is at index in snapshot.tls there is another set: every worker gets a context, and so do
 * the health checks, or none does, which is in the log. Ends with a dispatch of health's reactor
 * due.
 */
bool cert_use_swap(const struct cert_use *use, size_t index, const struct tls_set *set);

/* For checks of pools[0..n), as health_use was told, that have none yet. False: that is in the log.
 */
bool cert_use_checks(struct health *health, struct pool_spec *const *pools, size_t n);

#endif
