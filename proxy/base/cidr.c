/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address blocks. Owns the array of a set; does no I/O and resolves no names. Text comes from the
 * configuration or from a peer's X-Forwarded-For, so nothing here trusts it.
 */
#include "proxy/base/cidr.h"

#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define V4_MAPPED (UINT64_C(0xffff) << 32)

static struct cidr_addr from_v4(const struct in_addr *in)
{
    return (struct cidr_addr){.hi = 0, .lo = V4_MAPPED | ntohl(in->s_addr)};
}

static struct cidr_addr from_v6(const struct in6_addr *in)
{
    uint64_t halves[2];
    memcpy(halves, in, sizeof halves);
    return (struct cidr_addr){.hi = be64toh(halves[0]), .lo = be64toh(halves[1])};
}

/* As written: is_v6 tells "::ffff:10.0.0.1" from "10.0.0.1", which are the same address. */
static bool parse_addr(struct span text, struct cidr_addr *out, bool *is_v6)
{
    char buf[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    bool bracketed = text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    if (bracketed)
        text = span_of(text.ptr + 1, text.len - 2);
    if (text.len == 0 || text.len >= sizeof buf || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = 0;
    *is_v6 = memchr(text.ptr, ':', text.len) != NULL;
    if (*is_v6 && inet_pton(AF_INET6, buf, &v6) == 1)
        *out = from_v6(&v6);
    else if (!*is_v6 && !bracketed && inet_pton(AF_INET, buf, &v4) == 1)
        *out = from_v4(&v4);
    else
        return false;
    return true;
}

bool cidr_addr_parse(struct span text, struct cidr_addr *out)
{
    bool is_v6;
    return parse_addr(text, out, &is_v6);
}

bool cidr_addr_from_sockaddr(const struct sockaddr *sa, struct cidr_addr *out)
{
    /* Copied, since a sockaddr need not be aligned for what it really is. */
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    switch (sa->sa_family) {
    case AF_INET:
        memcpy(&in, sa, sizeof in);
        *out = from_v4(&in.sin_addr);
        return true;
    case AF_INET6:
        memcpy(&in6, sa, sizeof in6);
        *out = from_v6(&in6.sin6_addr);
        return true;
    default:
        return false;
    }
}

/* Decimal without sign or leading zero, at most max. */
static bool parse_prefix(struct span text, unsigned max, unsigned *out)
{
    if (text.len == 0 || text.len > 3 || (text.len > 1 && text.ptr[0] == '0'))
        return false;
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(text.ptr[i] - '0');
    }
    return *out <= max;
}

/* The upper n bits of 64; n is 0 to 64. */
static uint64_t upper_bits(unsigned n)
{
    return n == 0 ? 0 : UINT64_MAX << (64 - n);
}

enum cidr_error cidr_parse(struct span text, struct cidr *out)
{
    bool is_v6;
    const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
    struct span addr = slash ? span_of(text.ptr, (size_t)(slash - text.ptr)) : text;
    if (!parse_addr(addr, &out->addr, &is_v6))
        return CIDR_ERR_ADDRESS;
    unsigned max = is_v6 ? 128 : 32, bits = max;
    if (slash && !parse_prefix(span_of(slash + 1, text.len - addr.len - 1), max, &bits))
        return CIDR_ERR_PREFIX;
    bits += 128 - max;
    out->mask.hi = upper_bits(bits < 64 ? bits : 64);
    out->mask.lo = upper_bits(bits < 64 ? 0 : bits - 64);
    struct cidr_addr whole = out->addr;
    out->addr.hi &= out->mask.hi;
    out->addr.lo &= out->mask.lo;
    /* Only a prefix of 96 bits or more keeps the whole ::ffff: of a mapped address: what is wider
     * than all of IPv4 is a block of IPv6, even if it is written ::ffff:0:0/64. */
    out->v4 = cidr_addr_is_v4(out->addr);
    if (out->addr.hi != whole.hi || out->addr.lo != whole.lo)
        return CIDR_ERR_HOST_BITS;
    return CIDR_OK;
}

const char *cidr_error_text(enum cidr_error error)
{
    static const char *const texts[] = {
        [CIDR_OK] = "valid",
        [CIDR_ERR_ADDRESS] = "an IPv4 or IPv6 address or block, such as 10.0.0.0/8 or ::1",
        [CIDR_ERR_PREFIX] = "a prefix length of 0 to 32 (IPv4) or 0 to 128 (IPv6)",
        [CIDR_ERR_HOST_BITS] = "no bits of the address set after its prefix length",
    };
    return (size_t)error < ARRAY_LEN(texts) ? texts[error] : "a valid address block";
}

void cidr_set_add(struct cidr_set *set, const struct cidr *c)
{
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 8;
        set->items = mem_need(reallocarray(set->items, capacity, sizeof *set->items));
        set->capacity = capacity;
    }
    set->items[set->count++] = *c;
}

bool cidr_set_contains(const struct cidr_set *set, struct cidr_addr a)
{
    for (size_t i = 0; i < set->count; i++)
        if (cidr_contains(&set->items[i], a))
            return true;
    return false;
}

bool cidr_set_contains_sockaddr(const struct cidr_set *set, const struct sockaddr *sa)
{
    struct cidr_addr a;
    return cidr_addr_from_sockaddr(sa, &a) && cidr_set_contains(set, a);
}

void cidr_set_fini(struct cidr_set *set)
{
    free(set->items);
    *set = (struct cidr_set){0};
}
