/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the records of DNS to endpoints: the hosts that a name leads to (itself, or with SRV its
 * targets), their addresses, and what they come to. Pure; one thread.
 */
#ifndef WEIR_DISCOVERY_DNS_HOSTS_H
#define WEIR_DISCOVERY_DNS_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "proxy/discovery/dns_message.h"

enum dns_family { DNS_IPV4, DNS_IPV6, DNS_FAMILIES };

struct dns_address {
    uint8_t bytes[16]; /* IPv4: 4, and zeros */
};

struct dns_host {
    char name[DNS_NAME_TEXT];
    uint16_t priority, weight, port;
    bool known[DNS_FAMILIES];     /* its addresses, or that it has none */
    uint64_t owner[DNS_FAMILIES]; /* a hash of the name that they are of, behind all aliases */
    struct dns_address *addresses[DNS_FAMILIES];
    size_t counts[DNS_FAMILIES];
};

/* Starts as {0}, with both ttl at UINT32_MAX. */
struct dns_hosts {
    struct dns_host *items;
    size_t count, capacity;
    size_t addresses;  /* of all of them: SOURCE_ENDPOINTS_MAX at most, others are left out */
    uint32_t ttl;      /* the shortest of all records, s */
    uint32_t none_ttl; /* the same of what says that there are none */
};

/* Unless there are SOURCE_ENDPOINTS_MAX already. */
void dns_hosts_add(struct dns_hosts *hosts, const char *name, uint16_t priority, uint16_t weight,
                   uint16_t port);

/* A record of an answer to a question about the addresses of a host. */
void dns_hosts_address(struct dns_hosts *hosts, struct dns_host *host,
                       const struct dns_record *record);

/* A record of an answer to a question about SRV. */
void dns_hosts_service(struct dns_hosts *hosts, const struct dns_record *record);

/* Behind an answer about SRV: what that says of a target's addresses is all there is, if it says
 * any of IPv4. */
void dns_hosts_services_end(struct dns_hosts *hosts);

/* What else there is to ask for this host: DNS_A, then DNS_AAAA, or 0. */
int dns_host_wants(const struct dns_host *host, enum config_dns_type type);

/* What was said of its addresses is not to be believed. */
void dns_hosts_forget(struct dns_hosts *hosts, struct dns_host *host, enum dns_family family);

/* The addresses that a host of others has are this one's, in place of its own. */
void dns_hosts_copy(struct dns_hosts *hosts, struct dns_host *host, enum dns_family family,
                    const struct dns_host *from);

/* The one of that name, or NULL. */
const struct dns_host *dns_hosts_find(const struct dns_hosts *hosts, const char *name);

/* The endpoints, in an order of their own, each once: the shares of a host's addresses add up to
 * the host's, and priorities become 0, 1, 2 up to 7. A host that has one address of each family is
 * one endpoint with both. Of several nobody says which belong to the same machine, and each would
 * be there twice: then it is those of IPv4. */
struct config_endpoints *dns_hosts_endpoints(const struct dns_hosts *hosts);

/* Frees what it has; it is as it was at first. */
void dns_hosts_fini(struct dns_hosts *hosts);

#endif
