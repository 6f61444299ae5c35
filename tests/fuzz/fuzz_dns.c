/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes answers of DNS servers: the first byte says for what was asked. Reading must end within
 * the bytes, with names that are names; what comes of the records are endpoints each of which is
 * there once, with weights and priorities that the balancer bears.
 */
#include <stdlib.h>
#include <string.h>

#include "balancer/endpoint.h"
#include "proxy/base/check.h"
#include "proxy/discovery/dns_hosts.h"
#include "proxy/discovery/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *name)
{
    CHECK(strlen(name) <= DNS_NAME_MAX);
    for (const char *c = name; *c != '\0'; c++)
        CHECK(strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.?", *c) != NULL);
}

static void on_service(void *ctx, const struct dns_record *record)
{
    check_name(record->name);
    check_name(record->target);
    CHECK(record->ttl <= INT32_MAX);
    dns_hosts_service(ctx, record);
}

static void on_address(void *ctx, const struct dns_record *record)
{
    struct dns_hosts *hosts = ctx;
    check_name(record->name);
    dns_hosts_address(hosts, &hosts->items[0], record);
}

static void check_endpoints(const struct dns_hosts *hosts)
{
    struct config_endpoints *set = dns_hosts_endpoints(hosts);
    CHECK(set->count <= SOURCE_ENDPOINTS_MAX);
    for (size_t i = 0; i < set->count; i++) {
        const struct config_endpoint *e = &set->items[i];
        CHECK(e->weight >= 1 && e->weight <= LB_WEIGHT_MAX && e->priority < LB_LEVELS);
        CHECK(e->address.port != 0);
        for (size_t k = i + 1; k < set->count && k < i + 4; k++)
            CHECK(strcmp(e->address.text, set->items[k].address.text) != 0);
    }
    config_endpoints_unref(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    if (size == 0)
        return 0;
    bool services = data[0] % 2 != 0;
    uint8_t *copy =
        malloc(size - 1 + (size == 1)); /* so that the sanitizer sees a read behind its end */
    CHECK(copy);
    memcpy(copy, data + 1, size - 1);
    if (!services)
        dns_hosts_add(&hosts, "a", 0, 1, 80);
    dns_message_read(copy, size - 1, services ? on_service : on_address, &hosts);
    check_endpoints(&hosts);
    dns_hosts_fini(&hosts);
    free(copy);
    return 0;
}
