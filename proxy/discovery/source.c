/* SPDX-License-Identifier: Apache-2.0 */
/* What sources are made of. Owns the copies of what was configured. Control thread. */
#include "proxy/discovery/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/hash.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/etcd_spec.h"

static char *copy(const char *text)
{
    return text != NULL ? mem_need(strdup(text)) : NULL;
}

static void set_dns(struct source_spec *spec, const struct config_dns *dns)
{
    spec->kind = &source_dns;
    spec->name = copy(dns->name);
    spec->type = dns->type;
    spec->port = (uint16_t)dns->port;
    spec->min_ttl_ms = dns->min_ttl_ms;
    spec->max_ttl_ms = dns->max_ttl_ms;
    if (dns->server.text != NULL)
        CHECK(net_addr_ip(&spec->server, dns->server.host, dns->server.port));
}

static void set_etcd(struct source_spec *spec, const struct config_etcd *etcd)
{
    spec->kind = &source_etcd;
    spec->name = copy(etcd->prefix);
    spec->etcd = etcd_spec_new(etcd, false);
}

static void set_kubernetes(struct source_spec *spec, const struct config_kubernetes *k,
                           const char *zone)
{
    spec->kind = &source_kubernetes;
    spec->name = copy(k->service);
    spec->kubernetes = (struct source_kubernetes){
        .namespace = copy(k->namespace),
        .port = copy(k->port),
        .kubeconfig = copy(k->kubeconfig.text),
        .credentials = copy(k->credentials.text),
        .zone = copy(zone),
    };
    if (zone != NULL) /* it is not the pool's, but what is made of the answers */
        spec->identity = lb_hash_pair(spec->identity, lb_hash(zone, strlen(zone)));
}

struct source_spec *source_spec_new(const struct config_pool *pool, const char *zone)
{
    if (!config_pool_discovers(pool))
        return NULL;
    struct source_spec *spec = mem_need(calloc(1, sizeof(*spec)));
    spec->refs = 1;
    spec->identity = config_pool_source_hash(pool);
    spec->max = pool->registry.max;
    if (pool->dns.enabled) {
        set_dns(spec, &pool->dns);
    } else if (pool->etcd.enabled) {
        set_etcd(spec, &pool->etcd);
    } else if (pool->kubernetes.enabled) {
        set_kubernetes(spec, &pool->kubernetes, zone);
    } else if (pool->registry.enabled) {
        spec->kind = &source_registry;
        spec->name = copy(pool->name);
    } else {
        spec->kind = &source_file;
        spec->name = copy(pool->file.text);
    }
    size_t size = strlen(spec->kind->name) + strlen(spec->name) + 2;
    spec->text = mem_need(malloc(size));
    snprintf(spec->text, size, "%s %s", spec->kind->name, spec->name);
    return spec;
}

struct source_spec *source_spec_ref(struct source_spec *spec)
{
    spec->refs++;
    return spec;
}

void source_spec_unref(struct source_spec *spec)
{
    if (spec == NULL)
        return;
    CHECK(spec->refs > 0);
    if (--spec->refs > 0)
        return;
    etcd_spec_free(spec->etcd);
    free(spec->kubernetes.namespace);
    free(spec->kubernetes.port);
    free(spec->kubernetes.kubeconfig);
    free(spec->kubernetes.credentials);
    free(spec->kubernetes.zone);
    free(spec->name);
    free(spec->text);
    free(spec);
}

const char *source_first_error(const struct config_errors *errs, char out[SOURCE_WHY])
{
    const struct config_error *first = &errs->items[0];
    for (size_t i = 0; first->severity != CONFIG_ERROR && i < errs->count; i++)
        first = &errs->items[i];
    int n = first->pos.file != NULL ? snprintf(out, SOURCE_WHY, "%.300s", first->pos.file) : 0;
    if (first->pos.line > 0)
        n +=
            snprintf(out + n, SOURCE_WHY - (size_t)n, ":%u:%u", first->pos.line, first->pos.column);
    n += snprintf(out + n, SOURCE_WHY - (size_t)n, "%s%.200s%s%.400s", n > 0 ? ": " : "",
                  first->path, first->path[0] != '\0' ? ": " : "", first->message);
    if (errs->errors > 1)
        snprintf(out + n, SOURCE_WHY - (size_t)n, " (and %zu more)", errs->errors - 1);
    return out;
}
