/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading DNS messages. Owns nothing; must never read beyond the bytes it is given, nor follow a
 * name in circles. Any thread.
 */
#include "proxy/discovery/dns_message.h"

#include <string.h>

#define CLASS_IN     1
#define HEADER_BYTES 12
#define POINTER      0xc0

/* What is left of a message; bad once anything was wrong. */
struct reader {
    const uint8_t *bytes;
    size_t at, len;
    bool bad;
};

static uint32_t read_number(struct reader *r, unsigned n_bytes)
{
    uint32_t value = 0;
    if (r->len - r->at < n_bytes) {
        r->bad = true;
        r->at = r->len;
        return 0;
    }
    while (n_bytes-- > 0)
        value = value << 8 | r->bytes[r->at++];
    return value;
}

static char letter(uint8_t c)
{
    bool lower = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    return (char)(lower ? c : c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : '?');
}

/* One label behind what is there of the text; false: it is too long, or not all here. */
static bool add_label(const struct reader *r, size_t at, size_t len, char *text, size_t *used)
{
    size_t dot = *used > 0;
    if (r->len - at < len || *used + dot + len > DNS_NAME_MAX)
        return false;
    if (dot)
        text[(*used)++] = '.';
    for (size_t i = 0; i < len; i++)
        text[(*used)++] = letter(r->bytes[at + i]);
    return true;
}

/* A pointer leads to what is before the part of the name that it ends, so that each part begins
 * before the one before, and there is an end. */
static void read_name(struct reader *r, char *text)
{
    size_t at = r->at, start = r->at, used = 0;
    bool jumped = false, ok = true;
    while (ok) {
        ok = at < r->len;
        unsigned len = ok ? r->bytes[at++] : 0;
        if (ok && len == 0)
            break;
        if (ok && len >= POINTER && at < r->len) {
            size_t to = (size_t)(len & ~POINTER) << 8 | r->bytes[at++];
            r->at = jumped ? r->at : at;
            jumped = true;
            ok = to < start;
            at = start = to;
        } else {
            ok = ok && len < 64 && add_label(r, at, len, text, &used);
            at += len;
        }
    }
    text[used] = '\0';
    r->at = jumped ? r->at : at;
    if (!ok) {
        r->bad = true;
        r->at = r->len;
    }
}

static void skip_names(struct reader *r, unsigned n)
{
    char name[DNS_NAME_TEXT];
    while (n-- > 0)
        read_name(r, name);
}

static void read_soa(struct reader *r, struct dns_record *record)
{
    skip_names(r, 2);
    for (unsigned i = 0; i < 4; i++)
        read_number(r, 4);
    uint32_t least = read_number(r, 4);
    record->ttl = least < record->ttl ? least : record->ttl;
}

static void read_address(struct reader *r, struct dns_record *record, size_t len)
{
    for (size_t i = 0; i < len; i++)
        record->addr[i] = (uint8_t)read_number(r, 1);
}

static void read_data(struct reader *r, struct dns_record *record)
{
    switch (record->type) {
    case DNS_A:
        read_address(r, record, 4);
        break;
    case DNS_AAAA:
        read_address(r, record, 16);
        break;
    case DNS_SRV:
        record->priority = (uint16_t)read_number(r, 2);
        record->weight = (uint16_t)read_number(r, 2);
        record->port = (uint16_t)read_number(r, 2);
        read_name(r, record->target);
        break;
    case DNS_SOA:
        read_soa(r, record);
        break;
    default:
        read_name(r, record->target); /* CNAME */
    }
}

static bool is_known(uint16_t type, uint16_t class)
{
    return class == CLASS_IN && (type == DNS_A || type == DNS_AAAA || type == DNS_SRV ||
                                 type == DNS_SOA || type == DNS_CNAME);
}

static void read_record(struct reader *r, enum dns_section section, dns_record_fn *fn, void *ctx)
{
    struct dns_record record = {.section = section};
    read_name(r, record.name);
    record.type = (uint16_t)read_number(r, 2);
    uint16_t class = (uint16_t)read_number(r, 2);
    record.ttl = read_number(r, 4);
    if (record.ttl > INT32_MAX)
        record.ttl = 0; /* RFC 2181 section 8 */
    size_t size = read_number(r, 2), begin = r->at;
    if (r->bad || r->len - begin < size) {
        r->bad = true;
        return;
    }
    if (is_known(record.type, class)) {
        read_data(r, &record);
        r->bad |= r->at != begin + size;
        if (!r->bad)
            fn(ctx, &record);
    }
    r->at = begin + size;
}

bool dns_message_read(const uint8_t *bytes, size_t len, dns_record_fn *fn, void *ctx)
{
    struct reader r = {.bytes = bytes, .len = len};
    unsigned counts[3], questions;
    read_number(&r, 4);
    questions = read_number(&r, 2);
    for (unsigned i = 0; i < 3; i++)
        counts[i] = read_number(&r, 2);
    for (; questions > 0 && !r.bad; questions--) {
        skip_names(&r, 1);
        read_number(&r, 4);
    }
    for (unsigned i = 0; i < 3; i++)
        for (; counts[i] > 0 && !r.bad; counts[i]--)
            read_record(&r, (enum dns_section)i, fn, ctx);
    return !r.bad;
}

bool dns_message_cut(const uint8_t *bytes, size_t len)
{
    return len >= HEADER_BYTES && (bytes[2] & 2) != 0;
}
