/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses and address blocks (CIDR, RFC 4632 and RFC 4291 section 2.3), for lists of peers.
 *
 * An IPv4-mapped IPv6 address (::ffff:10.0.0.1) is the IPv4 address it stands for, everywhere. An
 * IPv6 block never contains an IPv4 address: ::/0 is every IPv6 peer and no other.
 * Owns only the array of a set. A set that no longer changes may be read by any thread.
 */
#ifndef WEIR_BASE_CIDR_H
#define WEIR_BASE_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proxy/base/span.h"

/* 128 bits in host order; IPv4 as its mapped IPv6 address. */
struct cidr_addr {
    uint64_t hi, lo;
};

struct cidr {
    struct cidr_addr addr, mask;
    bool v4;
};

enum cidr_error {
    CIDR_OK,
    CIDR_ERR_ADDRESS,   /* not an IPv4 or IPv6 address */
    CIDR_ERR_PREFIX,    /* prefix length not a number, or over 32 or 128 */
    CIDR_ERR_HOST_BITS, /* 10.0.0.1/8: bits set after the prefix; *out is filled, masked */
};

/* Zeroed is empty; cidr_set_fini frees. */
struct cidr_set {
    struct cidr *items;
    size_t count, capacity;
};

/* A textual address, brackets around IPv6 allowed, no port, no zone. */
bool cidr_addr_parse(struct span text, struct cidr_addr *out);

/* From AF_INET or AF_INET6; false for every other family. */
bool cidr_addr_from_sockaddr(const struct sockaddr *sa, struct cidr_addr *out);

static inline bool cidr_addr_is_v4(struct cidr_addr a)
{
    return a.hi == 0 && a.lo >> 32 == 0xffff;
}

/* "10.0.0.0/8", "2001:db8::/32", "::ffff:10.0.0.0/104" (= 10.0.0.0/8), or a single address. */
enum cidr_error cidr_parse(struct span text, struct cidr *out);

/* A sentence's end for an error message, as in "expected ..."; never NULL. */
const char *cidr_error_text(enum cidr_error error);

/* Of the same family, too: no IPv4 address is in an IPv6 block, however large. */
static inline bool cidr_contains(const struct cidr *c, struct cidr_addr a)
{
    return (((a.hi ^ c->addr.hi) & c->mask.hi) | ((a.lo ^ c->addr.lo) & c->mask.lo)) == 0 &&
           c->v4 == cidr_addr_is_v4(a);
}

/* Adds a copy. */
void cidr_set_add(struct cidr_set *set, const struct cidr *c);

/* Linear: meant for tens of blocks, looked at once a connection. */
bool cidr_set_contains(const struct cidr_set *set, struct cidr_addr a);

/* As above from a socket address; false for families other than IP. */
bool cidr_set_contains_sockaddr(const struct cidr_set *set, const struct sockaddr *sa);

/* Frees the blocks; the set is empty afterwards. */
void cidr_set_fini(struct cidr_set *set);

#endif
