/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROXY protocol headers, as haproxy's doc/proxy-protocol.txt has them. Owns nothing, and must not
 * read a byte behind the end of what it was given. Pure; any thread.
 */
#include "proxy/net/proxy_header.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "proxy/base/check.h"

#define V1_LINE_MAX 107 /* with CRLF */
#define V2_FIXED    16  /* signature, version and command, family, length */

enum { V2_LOCAL = 0, V2_PROXY = 1 };
enum { V2_UNSPEC = 0, V2_INET = 1, V2_INET6 = 2, V2_UNIX = 3 };
enum { V2_STREAM = 1, V2_DGRAM = 2 };
enum { TLV_CRC32C = 3 };

static const struct span v1_start = {"PROXY ", 6};
static const struct span v2_start = {"\r\n\r\n\0\r\nQUIT\n", 12};

/* ---- version 1 ---- */

/* What is before the next space, or before the end; false if nothing is. */
static bool next_word(struct span *line, struct span *word)
{
    const char *space = line->len > 0 ? memchr(line->ptr, ' ', line->len) : NULL;
    size_t n = space != NULL ? (size_t)(space - line->ptr) : line->len;
    *word = span_of(line->ptr, n);
    n += space != NULL;
    *line = span_of(line->ptr + n, line->len - n);
    return word->len > 0 && (space == NULL || line->len > 0);
}

/* 0 to 65535, without leading zeros. */
static bool read_port(struct span text, uint16_t *port)
{
    uint32_t n = 0;
    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    *port = (uint16_t)n;
    return n <= UINT16_MAX;
}

static bool read_address(struct span host, struct span port, int family, struct net_addr *addr)
{
    char text[INET6_ADDRSTRLEN];
    uint16_t number;
    if (host.len == 0 || host.len >= sizeof(text) || memchr(host.ptr, '\0', host.len) != NULL ||
        !read_port(port, &number))
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    return net_addr_ip(addr, text, number) && addr->u.sa.sa_family == family;
}

/* The line behind "PROXY ", without CRLF. */
static bool read_line(struct span line, struct proxy_header *out)
{
    struct span protocol, words[4];
    if (!next_word(&line, &protocol))
        return span_eq(protocol, SPAN_LIT("UNKNOWN"));
    if (span_eq(protocol, SPAN_LIT("UNKNOWN")))
        return true; /* whatever follows is to be ignored */
    int family = span_eq(protocol, SPAN_LIT("TCP4"))   ? AF_INET
                 : span_eq(protocol, SPAN_LIT("TCP6")) ? AF_INET6
                                                       : AF_UNSPEC;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!next_word(&line, &words[i]))
            return false;
    out->told = true;
    return family != AF_UNSPEC && line.len == 0 &&
           read_address(words[0], words[2], family, &out->source) &&
           read_address(words[1], words[3], family, &out->destination);
}

static enum proxy_header_verdict read_v1(struct span in, struct proxy_header *out)
{
    size_t most = in.len < V1_LINE_MAX ? in.len : V1_LINE_MAX;
    const char *end = memchr(in.ptr, '\r', most);
    if (end == NULL)
        return in.len < V1_LINE_MAX && memchr(in.ptr, '\n', most) == NULL ? PROXY_HEADER_MORE
                                                                          : PROXY_HEADER_BAD;
    size_t n = (size_t)(end - in.ptr);
    if (n + 2 > V1_LINE_MAX || memchr(in.ptr, '\n', n) != NULL)
        return PROXY_HEADER_BAD;
    if (n + 1 == in.len)
        return PROXY_HEADER_MORE;
    out->length = n + 2;
    bool good = end[1] == '\n' && read_line(span_of(in.ptr + v1_start.len, n - v1_start.len), out);
    return good ? PROXY_HEADER_DONE : PROXY_HEADER_BAD;
}

/* ---- version 2 ---- */

static unsigned byte_at(const char *at)
{
    return (unsigned char)*at;
}

static size_t length_at(const char *at)
{
    return byte_at(at) << 8 | byte_at(at + 1);
}

/* CRC-32C (RFC 3720 appendix B.4) of n bytes more. A header a connection: no table. */
static uint32_t crc32c(uint32_t crc, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= byte_at(bytes + i);
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
    }
    return crc;
}

/* at: of the checksum in the header, which counts as zero. */
static bool checksum_right(struct span header, const char *at)
{
    static const char zero[4] = {0};
    uint32_t told = (uint32_t)(length_at(at) << 16 | length_at(at + 2));
    size_t before = (size_t)(at - header.ptr);
    uint32_t crc = crc32c(UINT32_MAX, header.ptr, before);
    crc = crc32c(crc, zero, sizeof(zero));
    return (crc32c(crc, at + 4, header.len - before - 4) ^ UINT32_MAX) == told;
}

/* What is told beside the addresses: type, length, value. Only the checksum is used. */
static bool read_tlvs(struct span header, size_t at)
{
    while (at < header.len) {
        if (header.len - at < 3)
            return false;
        unsigned type = byte_at(header.ptr + at);
        size_t n = length_at(header.ptr + at + 1);
        at += 3;
        if (header.len - at < n)
            return false;
        if (type == TLV_CRC32C && (n != 4 || !checksum_right(header, header.ptr + at)))
            return false;
        at += n;
    }
    return true;
}

static void read_inet(const char *at, struct proxy_header *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    memcpy(&in.sin_addr, at, 4);
    memcpy(&in.sin_port, at + 8, 2);
    net_addr_from(&out->source, (struct sockaddr *)&in, sizeof(in));
    memcpy(&in.sin_addr, at + 4, 4);
    memcpy(&in.sin_port, at + 10, 2);
    net_addr_from(&out->destination, (struct sockaddr *)&in, sizeof(in));
}

static void read_inet6(const char *at, struct proxy_header *out)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memcpy(&in6.sin6_addr, at, 16);
    memcpy(&in6.sin6_port, at + 32, 2);
    net_addr_from(&out->source, (struct sockaddr *)&in6, sizeof(in6));
    memcpy(&in6.sin6_addr, at + 16, 16);
    memcpy(&in6.sin6_port, at + 34, 2);
    net_addr_from(&out->destination, (struct sockaddr *)&in6, sizeof(in6));
}

static bool read_binary(struct span header, struct proxy_header *out)
{
    static const size_t sizes[] = {
        [V2_UNSPEC] = 0, [V2_INET] = 12, [V2_INET6] = 36, [V2_UNIX] = 216};
    unsigned command = byte_at(header.ptr + 12) & 15;
    unsigned family = byte_at(header.ptr + 13) >> 4, protocol = byte_at(header.ptr + 13) & 15;
    if (command == V2_LOCAL)
        return true; /* the family and all the rest are to be ignored */
    if (header.len - V2_FIXED < sizes[family])
        return false;
    out->told = protocol == V2_STREAM && (family == V2_INET || family == V2_INET6);
    if (out->told && family == V2_INET)
        read_inet(header.ptr + V2_FIXED, out);
    else if (out->told)
        read_inet6(header.ptr + V2_FIXED, out);
    return family == V2_UNSPEC || read_tlvs(header, V2_FIXED + sizes[family]);
}

static enum proxy_header_verdict read_v2(struct span in, struct proxy_header *out)
{
    if (in.len > 12 && (byte_at(in.ptr + 12) >> 4 != 2 || (byte_at(in.ptr + 12) & 15) > V2_PROXY))
        return PROXY_HEADER_BAD;
    if (in.len > 13 &&
        (byte_at(in.ptr + 13) >> 4 > V2_UNIX || (byte_at(in.ptr + 13) & 15) > V2_DGRAM))
        return PROXY_HEADER_BAD;
    if (in.len < V2_FIXED)
        return PROXY_HEADER_MORE;
    out->length = V2_FIXED + length_at(in.ptr + 14);
    if (out->length > PROXY_HEADER_BYTES)
        return PROXY_HEADER_BAD;
    if (in.len < out->length)
        return PROXY_HEADER_MORE;
    return read_binary(span_of(in.ptr, out->length), out) ? PROXY_HEADER_DONE : PROXY_HEADER_BAD;
}

/* Does in begin as start does, as far as it goes? */
static bool may_be(struct span in, struct span start)
{
    size_t n = in.len < start.len ? in.len : start.len;
    return n == 0 || memcmp(in.ptr, start.ptr, n) == 0;
}

enum proxy_header_verdict proxy_header_read(struct span in, struct proxy_header *out)
{
    *out = (struct proxy_header){0};
    if (may_be(in, v1_start))
        return in.len < v1_start.len ? PROXY_HEADER_MORE : read_v1(in, out);
    if (may_be(in, v2_start))
        return in.len < v2_start.len ? PROXY_HEADER_MORE : read_v2(in, out);
    return PROXY_HEADER_BAD;
}

/* ---- writing ---- */

/* An address as 16 bytes; *v4: it is one of IPv4. False: it is none of IP. */
static bool ip_bytes(const struct net_addr *addr, uint8_t out[16], bool *v4)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (addr->u.sa.sa_family == AF_INET) {
        memcpy(out, mapped, sizeof(mapped));
        memcpy(out + sizeof(mapped), &addr->u.in.sin_addr, 4);
    } else if (addr->u.sa.sa_family == AF_INET6) {
        memcpy(out, &addr->u.in6.sin6_addr, 16);
    } else {
        return false;
    }
    *v4 = memcmp(out, mapped, sizeof(mapped)) == 0;
    return true;
}

struct endpoints {
    uint8_t source[16], destination[16];
    uint16_t source_port, destination_port;
    bool known, v4;
};

static struct endpoints endpoints_of(const struct net_addr *source,
                                     const struct net_addr *destination)
{
    struct endpoints e = {0};
    bool source_v4, destination_v4;
    e.known = ip_bytes(source, e.source, &source_v4) &&
              ip_bytes(destination, e.destination, &destination_v4);
    if (!e.known)
        return e;
    e.v4 = source_v4 && destination_v4;
    e.source_port = net_addr_port(source);
    e.destination_port = net_addr_port(destination);
    return e;
}

static size_t write_v1(const struct endpoints *e, char out[PROXY_HEADER_WRITE_MAX])
{
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
    int family = e->v4 ? AF_INET : AF_INET6;
    size_t at = e->v4 ? 12 : 0;
    if (!e->known)
        return (size_t)snprintf(out, PROXY_HEADER_WRITE_MAX, "PROXY UNKNOWN\r\n");
    inet_ntop(family, e->source + at, source, sizeof(source));
    inet_ntop(family, e->destination + at, destination, sizeof(destination));
    int n = snprintf(out, PROXY_HEADER_WRITE_MAX, "PROXY TCP%c %s %s %u %u\r\n", e->v4 ? '4' : '6',
                     source, destination, e->source_port, e->destination_port);
    CHECK(n > 0 && n < PROXY_HEADER_WRITE_MAX);
    return (size_t)n;
}

static size_t write_v2(const struct endpoints *e, char out[PROXY_HEADER_WRITE_MAX])
{
    size_t n = e->v4 ? 4 : 16, skip = 16 - n;
    size_t length = e->known ? 2 * n + 4 : 0;
    uint16_t ports[2] = {htons(e->source_port), htons(e->destination_port)};
    int family = e->known ? (e->v4 ? V2_INET : V2_INET6) << 4 | V2_STREAM : V2_UNSPEC;
    memcpy(out, v2_start.ptr, v2_start.len);
    out[12] = (char)(2 << 4 | (e->known ? V2_PROXY : V2_LOCAL));
    out[13] = (char)family;
    out[14] = 0;
    out[15] = (char)length;
    if (e->known) {
        memcpy(out + V2_FIXED, e->source + skip, n);
        memcpy(out + V2_FIXED + n, e->destination + skip, n);
        memcpy(out + V2_FIXED + 2 * n, ports, sizeof(ports));
    }
    return V2_FIXED + length;
}

size_t proxy_header_write(enum proxy_header_version version, const struct net_addr *source,
                          const struct net_addr *destination, char out[PROXY_HEADER_WRITE_MAX])
{
    struct endpoints e = endpoints_of(source, destination);
    CHECK(version == PROXY_HEADER_V1 || version == PROXY_HEADER_V2);
    return version == PROXY_HEADER_V1 ? write_v1(&e, out) : write_v2(&e, out);
}
