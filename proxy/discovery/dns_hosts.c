/* SPDX-License-Identifier: Apache-2.0 */
/* What DNS says of hosts. Owns their addresses; must never ask anybody. One thread. */
#include "proxy/discovery/dns_hosts.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/endpoint.h"
#include "balancer/hash.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/source.h"

#define SCALE 16 /* of SRV's weights, so that one can be divided and is still more than none */

/* ---- gathering ---- */

static void note_ttl(struct dns_hosts *hosts, const struct dns_record *record)
{
    uint32_t *ttl = record->type == DNS_SOA ? &hosts->none_ttl : &hosts->ttl;
    if (record->ttl < *ttl)
        *ttl = record->ttl;
}

void dns_hosts_add(struct dns_hosts *hosts, const char *name, uint16_t priority, uint16_t weight,
                   uint16_t port)
{
    if (hosts->count == SOURCE_ENDPOINTS_MAX)
        return;
    if (hosts->count == hosts->capacity) {
        hosts->capacity = hosts->capacity > 0 ? hosts->capacity * 2 : 8;
        hosts->items = mem_need(realloc(hosts->items, hosts->capacity * sizeof(hosts->items[0])));
    }
    struct dns_host *host = &hosts->items[hosts->count++];
    *host = (struct dns_host){.priority = priority, .weight = weight, .port = port};
    strncpy(host->name, name, sizeof(host->name) - 1);
}

/* Grows by doubling: whenever the count is a power of two it is full. */
static void add_address(struct dns_hosts *hosts, struct dns_host *host, enum dns_family family,
                        const uint8_t bytes[16], uint64_t owner)
{
    size_t n = host->counts[family];
    host->known[family] = true;
    host->owner[family] = owner;
    if (hosts->addresses == SOURCE_ENDPOINTS_MAX)
        return;
    if ((n & (n - 1)) == 0)
        host->addresses[family] = mem_need(
            realloc(host->addresses[family], (n > 0 ? 2 * n : 1) * sizeof(struct dns_address)));
    memcpy(host->addresses[family][n].bytes, bytes, sizeof(struct dns_address));
    host->counts[family]++;
    hosts->addresses++;
}

static uint64_t owner_of(const struct dns_record *record)
{
    return lb_hash(record->name, strlen(record->name));
}

void dns_hosts_address(struct dns_hosts *hosts, struct dns_host *host,
                       const struct dns_record *record)
{
    if (record->section == DNS_ADDITIONAL)
        return;
    note_ttl(hosts, record);
    if (record->section != DNS_ANSWER)
        return;
    if (record->type == DNS_A)
        add_address(hosts, host, DNS_IPV4, record->addr, owner_of(record));
    else if (record->type == DNS_AAAA)
        add_address(hosts, host, DNS_IPV6, record->addr, owner_of(record));
}

static void add_target(struct dns_hosts *hosts, const struct dns_record *record)
{
    if (record->target[0] != '\0' && record->port != 0)
        dns_hosts_add(hosts, record->target, record->priority, record->weight, record->port);
}

/* A target may be there with several ports. */
static void add_known(struct dns_hosts *hosts, const struct dns_record *record)
{
    enum dns_family family = record->type == DNS_A ? DNS_IPV4 : DNS_IPV6;
    for (size_t i = 0; i < hosts->count; i++) {
        if (strcmp(hosts->items[i].name, record->name) != 0)
            continue;
        add_address(hosts, &hosts->items[i], family, record->addr, owner_of(record));
        note_ttl(hosts, record);
    }
}

void dns_hosts_service(struct dns_hosts *hosts, const struct dns_record *record)
{
    if (record->section != DNS_ADDITIONAL)
        note_ttl(hosts, record);
    if (record->section == DNS_ANSWER && record->type == DNS_SRV)
        add_target(hosts, record);
    else if (record->section == DNS_ADDITIONAL &&
             (record->type == DNS_A || record->type == DNS_AAAA))
        add_known(hosts, record);
}

void dns_hosts_services_end(struct dns_hosts *hosts)
{
    for (size_t i = 0; i < hosts->count; i++)
        hosts->items[i].known[DNS_IPV6] |= hosts->items[i].known[DNS_IPV4];
}

int dns_host_wants(const struct dns_host *host, enum config_dns_type type)
{
    if (type != CONFIG_DNS_AAAA && !host->known[DNS_IPV4])
        return DNS_A;
    return type != CONFIG_DNS_A && !host->known[DNS_IPV6] ? DNS_AAAA : 0;
}

void dns_hosts_forget(struct dns_hosts *hosts, struct dns_host *host, enum dns_family family)
{
    hosts->addresses -= host->counts[family];
    host->counts[family] = 0;
}

void dns_hosts_copy(struct dns_hosts *hosts, struct dns_host *host, enum dns_family family,
                    const struct dns_host *from)
{
    dns_hosts_forget(hosts, host, family);
    for (size_t i = 0; i < from->counts[family]; i++)
        add_address(hosts, host, family, from->addresses[family][i].bytes, from->owner[family]);
    host->known[family] = true;
}

const struct dns_host *dns_hosts_find(const struct dns_hosts *hosts, const char *name)
{
    for (size_t i = 0; i < hosts->count; i++)
        if (strcmp(hosts->items[i].name, name) == 0)
            return &hosts->items[i];
    return NULL;
}

/* ---- what it comes to ---- */

struct found {
    enum dns_family family;
    struct dns_address address;
    const struct dns_address *also; /* of IPv6; or NULL */
    uint16_t port, priority;
    uint32_t weight;
};

static enum dns_family family_of(const struct dns_host *host)
{
    return host->counts[DNS_IPV4] > 0 ? DNS_IPV4 : DNS_IPV6;
}

/* A search domain may have the one, and the next the other: these are two hosts. */
static const struct dns_address *also_of(const struct dns_host *host)
{
    bool pair = host->counts[DNS_IPV4] == 1 && host->counts[DNS_IPV6] == 1 &&
                host->owner[DNS_IPV4] == host->owner[DNS_IPV6];
    return pair ? host->addresses[DNS_IPV6] : NULL;
}

static int by_also(const struct dns_address *a, const struct dns_address *b)
{
    if (a == NULL || b == NULL)
        return (a == NULL) - (b == NULL);
    return memcmp(a, b, sizeof(*a));
}

static int by_address(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    int order = (int)x->family - (int)y->family;
    order = order != 0 ? order : memcmp(&x->address, &y->address, sizeof(x->address));
    order = order != 0 ? order : (int)x->port - (int)y->port;
    order = order != 0 ? order : (int)x->priority - (int)y->priority;
    order = order != 0 ? order : (int)(y->weight - x->weight);
    return order != 0 ? order : by_also(x->also, y->also);
}

/* SRV's weight 0 is a very small chance beside others (RFC 2782); to weir it is none. */
static uint32_t scale_of(const struct dns_hosts *hosts)
{
    bool zero = false, more = false, shared = false;
    for (size_t i = 0; i < hosts->count; i++) {
        zero |= hosts->items[i].weight == 0;
        more |= hosts->items[i].weight != 0;
        shared |= hosts->items[i].counts[family_of(&hosts->items[i])] > 1;
    }
    return hosts->count > 1 && ((zero && more) || shared) ? SCALE : 1;
}

static uint32_t weight_of(const struct dns_host *host, size_t n, uint32_t scale)
{
    uint32_t weight = host->weight * scale / (uint32_t)n;
    _Static_assert(UINT16_MAX * SCALE <= LB_WEIGHT_MAX, "weights fit");
    return weight > 0 ? weight : 1;
}

/* All of them, by address; malloc's. */
static struct found *gather(const struct dns_hosts *hosts, size_t *count)
{
    size_t n = 0;
    uint32_t scale = scale_of(hosts);
    for (size_t i = 0; i < hosts->count; i++)
        n += hosts->items[i].counts[family_of(&hosts->items[i])];
    struct found *all = mem_need(calloc(n + 1, sizeof(*all)));
    *count = 0;
    for (size_t i = 0; i < hosts->count; i++) {
        const struct dns_host *host = &hosts->items[i];
        enum dns_family family = family_of(host);
        for (size_t k = 0; k < host->counts[family]; k++)
            all[(*count)++] =
                (struct found){family,         host->addresses[family][k],
                               also_of(host),  host->port,
                               host->priority, weight_of(host, host->counts[family], scale)};
    }
    qsort(all, n, sizeof(*all), by_address);
    return all;
}

/* Those of the best priority stay, and of these the heaviest: not what came first, for servers turn
 * the order of records round. */
static size_t drop_doubles(struct found *all, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || all[kept - 1].family != all[i].family ||
            all[kept - 1].port != all[i].port ||
            memcmp(&all[kept - 1].address, &all[i].address, sizeof(all[i].address)) != 0)
            all[kept++] = all[i];
    return kept < SOURCE_ENDPOINTS_MAX ? kept : SOURCE_ENDPOINTS_MAX;
}

/* How many priorities there are before that one, up to the last level that weir has. */
static uint32_t level_of(const uint16_t *levels, uint32_t n, uint16_t priority)
{
    uint32_t level = 0;
    while (level + 1 < n && levels[level] < priority)
        level++;
    return level;
}

/* The lowest ones, in their order. */
static uint32_t find_levels(const struct found *all, size_t n, uint16_t levels[LB_LEVELS])
{
    uint32_t count = 0;
    for (uint32_t next = 0; count < LB_LEVELS; next = levels[count - 1] + 1u) {
        uint32_t least = UINT32_MAX;
        for (size_t i = 0; i < n; i++)
            if (all[i].priority >= next && all[i].priority < least)
                least = all[i].priority;
        if (least == UINT32_MAX)
            break;
        levels[count++] = (uint16_t)least;
    }
    return count;
}

struct config_endpoints *dns_hosts_endpoints(const struct dns_hosts *hosts)
{
    size_t n;
    uint16_t levels[LB_LEVELS];
    struct found *all = gather(hosts, &n);
    n = drop_doubles(all, n);
    uint32_t n_levels = find_levels(all, n, levels);
    struct config_endpoints *set = config_endpoints_new(n);
    for (size_t i = 0; i < n; i++) {
        char text[INET6_ADDRSTRLEN];
        inet_ntop(all[i].family == DNS_IPV4 ? AF_INET : AF_INET6, all[i].address.bytes, text,
                  sizeof(text));
        config_endpoints_put(set, i, text, all[i].port, all[i].weight,
                             level_of(levels, n_levels, all[i].priority));
        if (all[i].also != NULL)
            config_endpoints_also(set, i,
                                  inet_ntop(AF_INET6, all[i].also->bytes, text, sizeof(text)));
    }
    config_endpoints_done(set);
    free(all);
    return set;
}

void dns_hosts_fini(struct dns_hosts *hosts)
{
    for (size_t i = 0; i < hosts->count; i++)
        for (int f = 0; f < DNS_FAMILIES; f++)
            free(hosts->items[i].addresses[f]);
    free(hosts->items);
    *hosts = (struct dns_hosts){.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
}
