/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EndpointSlices (discovery.k8s.io/v1) of one Service, and the endpoints that they come to. What is
 * read may be anything; what is kept of it is an address, a port and a state for each endpoint.
 * Pure; one thread.
 */
#ifndef WEIR_DISCOVERY_KUBERNETES_SLICES_H
#define WEIR_DISCOVERY_KUBERNETES_SLICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "proxy/base/json_read.h"

/* What is wanted of them. */
struct kube_want {
    const char *port; /* a name or a number; NULL: the only one */
    const char *zone; /* that weir is in; or NULL */
};

struct kube_slice;

/* All zero: there are none. */
struct kube_slices {
    struct kube_slice **items; /* by name */
    size_t count, capacity;
    size_t endpoints; /* of all of them */
};

/* A slice comes, or takes the place of the one of its name. False with wrong set: it is not as it
 * should be, and all is as it was before. */
bool kube_slices_put(struct kube_slices *slices, const struct kube_want *want,
                     const struct json_t *object, struct json_wrong *wrong);

/* A slice goes, if it is there. */
bool kube_slices_drop(struct kube_slices *slices, const struct json_t *object,
                      struct json_wrong *wrong);

/*
 * The endpoints, in an order of their own, each once:
 *   those that are ready, and in drain those that end but still serve; these alone, and not in
 *   drain, if none is ready
 *   those that hints name for the zone, if every ready one has hints and some are for the zone
 *   of IPv4, and of IPv6 only if there are no others
 * note: why there are none, static; or NULL.
 */
struct config_endpoints *kube_slices_endpoints(const struct kube_slices *slices,
                                               const struct kube_want *want, const char **note);

/* Frees what it has; it is as it was at first. */
void kube_slices_fini(struct kube_slices *slices);

#endif
