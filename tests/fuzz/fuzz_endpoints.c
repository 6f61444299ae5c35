/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a file of endpoints: must end in endpoints that a pool bears, or in errors; the same
 * bytes are the same endpoints, by their hash. Owns nothing between inputs.
 */
#include <stdlib.h>

#include "balancer/endpoint.h"
#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/net/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_endpoint(const struct config_endpoint *e)
{
    struct net_addr addr;
    const struct config_addr *a = &e->address;
    CHECK(a->kind == CONFIG_ADDR_UNIX ? net_addr_unix(&addr, a->path)
                                      : net_addr_ip(&addr, a->host, a->port));
    CHECK(e->weight <= 1000 && e->priority < LB_LEVELS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errs = {0};
    struct config_endpoints *set = NULL, *again = NULL;
    const char *bytes = (const char *)data;
    int result = config_endpoints_load("fuzz", bytes, size, &set, &errs);
    CHECK((result == 0) == (set != NULL) && (result == 0) == (errs.errors == 0));
    for (size_t i = 0; set != NULL && i < set->count; i++)
        check_endpoint(&set->items[i]);
    if (set != NULL) {
        CHECK(config_endpoints_load("again", bytes, size, &again, &errs) == 0);
        CHECK(again->hash == set->hash);
    }
    config_endpoints_unref(set);
    config_endpoints_unref(again);
    config_errors_free(&errs);
    return 0;
}
