/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads DNS messages (RFC 1035 section 4): the records of an answer that weir has a use for, one
 * after the other. Takes any bytes. Pure; any thread.
 */
#ifndef WEIR_DISCOVERY_DNS_MESSAGE_H
#define WEIR_DISCOVERY_DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX  253 /* bytes of a name as text, without its last dot */
#define DNS_NAME_TEXT 256

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_AAAA = 28, DNS_SRV = 33 };

enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL };

struct dns_record {
    enum dns_section section;
    uint16_t type; /* enum dns_type; others are left out */
    uint32_t ttl;  /* seconds, at most 2^31 - 1; SOA: how long what is not there is not */
    char name[DNS_NAME_TEXT];        /* in lower case; a byte that no host name has is a '?' */
    uint8_t addr[16];                /* A: the first 4 bytes; AAAA */
    uint16_t priority, weight, port; /* SRV */
    char target[DNS_NAME_TEXT];      /* SRV; "": there is no such service */
};

typedef void dns_record_fn(void *ctx, const struct dns_record *record);

/* Calls fn for each record. False: the message is malformed, which fn may have been called before
 * for some of. */
bool dns_message_read(const uint8_t *bytes, size_t len, dns_record_fn *fn, void *ctx);

/* Whether the server says that there is more than this (TC). */
bool dns_message_cut(const uint8_t *bytes, size_t len);

#endif
