/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a snapshot. Any thread drops the last reference. */
#include "proxy/snapshot.h"

#include <stdlib.h>

#include "proxy/upstream/health.h"

void pool_tls_free(const struct tls_client_options *tls)
{
    if (tls == NULL)
        return;
    tls_trust_free(tls->ca);
    tls_certs_unref(tls->cert);
    free((char *)(uintptr_t)tls->server_name);
    free((void *)(uintptr_t)tls);
}

void snapshot_unref(struct snapshot *snap)
{
    if (snap == NULL || atomic_fetch_sub_explicit(&snap->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < snap->n_listeners; i++) {
        free((char *)(uintptr_t)snap->listeners[i].name);
        cidr_set_fini(&snap->listeners[i].trusted);
        cidr_set_fini(&snap->listeners[i].proxy_from);
        listener_tls_free(snap->listeners[i].tls);
    }
    for (size_t i = 0; i < snap->n_pools; i++) {
        free((char *)(uintptr_t)snap->pools[i].name);
        free((char *)(uintptr_t)snap->pools[i].key.name.ptr);
        lb_group_free(snap->pools[i].balance);
        free(snap->pools[i].endpoints);
        pool_tls_free(snap->pools[i].tls);
        health_spec_free(snap->pools[i].health);
    }
    route_table_free(snap->table);
    free(snap->listeners);
    free(snap->routes);
    free(snap->pools);
    free(snap);
}
