/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a snapshot. Any thread drops the last reference. */
#include "proxy/snapshot.h"

#include <stdlib.h>

#include "proxy/upstream/health.h"

void snapshot_unref(struct snapshot *snap)
{
    if (snap == NULL || atomic_fetch_sub_explicit(&snap->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < snap->n_listeners; i++) {
        free((char *)(uintptr_t)snap->listeners[i].name);
        cidr_set_fini(&snap->listeners[i].trusted);
        cidr_set_fini(&snap->listeners[i].proxy_from);
    }
    for (size_t i = 0; i < snap->n_pools; i++) {
        free((char *)(uintptr_t)snap->pools[i].name);
        free((char *)(uintptr_t)snap->pools[i].key.name.ptr);
        free((char *)(uintptr_t)snap->pools[i].sticky.cookie.ptr);
        free((char *)(uintptr_t)snap->pools[i].sticky.attributes.ptr);
        lb_group_free(snap->pools[i].balance);
        lb_budget_free(snap->pools[i].budget);
        free(snap->pools[i].endpoints);
        health_spec_free(snap->pools[i].health);
    }
    for (size_t i = 0; i < snapshot_n_tls(snap); i++)
        tls_source_free(snap->tls[i]);
    route_table_free(snap->table);
    free(snap->tls);
    free(snap->listeners);
    free(snap->routes);
    free(snap->pools);
    free(snap);
}
