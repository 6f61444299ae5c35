/* SPDX-License-Identifier: Apache-2.0 */
/* The table of known fields. Constant data; any thread. */
#include "proxy/http/fields.h"

#include <string.h>

#include "proxy/base/check.h"

static const struct {
    struct span name;
    bool hop;
} known[FIELD_ID_COUNT] = {
#define X(id, text, hop) [FIELD_##id] = {{text, sizeof(text) - 1}, hop},
    HTTP_FIELDS(X)
#undef X
};

/* Where eight bytes, or four, differ by more than case. to is of letters, digits and '-'; of these
 * only letters have bit 6, and only in bit 5 may they differ. */
static inline uint64_t differ8(const char *at, const char *to)
{
    uint64_t a, b;
    memcpy(&a, at, sizeof(a));
    memcpy(&b, to, sizeof(b));
    return (a ^ b) & ~((b & UINT64_C(0x4040404040404040)) >> 1);
}

static inline uint32_t differ4(const char *at, const char *to)
{
    uint32_t a, b;
    memcpy(&a, at, sizeof(a));
    memcpy(&b, to, sizeof(b));
    return (a ^ b) & ~((b & 0x40404040u) >> 1);
}

/* Equal but for case; the last step may look at some bytes twice. */
static bool same_name(const char *name, const char *to, size_t n)
{
    if (n < 4)
        return span_eq_nocase(span_of(name, n), span_of(to, n));
    if (n < 8)
        return (differ4(name, to) | differ4(name + n - 4, to + n - 4)) == 0;
    uint64_t bits = differ8(name + n - 8, to + n - 8);
    for (size_t at = 0; at + 8 < n; at += 8)
        bits |= differ8(name + at, to + at);
    return bits == 0;
}

static enum field_id is(enum field_id id, struct span name)
{
    struct span to = known[id].name;
    return name.len == to.len && same_name(name.ptr, to.ptr, to.len) ? id : FIELD_OTHER;
}

/* By length, then by one distinguishing byte: at most one comparison a field. */
enum field_id field_lookup(struct span name)
{
    switch (name.len) {
    case 2:
        return is(FIELD_TE, name);
    case 3:
        return is(FIELD_VIA, name);
    case 4:
        return is(ascii_lower(name.ptr[0]) == 'h' ? FIELD_HOST : FIELD_DATE, name);
    case 6:
        return is(ascii_lower(name.ptr[0]) == 'a' ? FIELD_ACCEPT : FIELD_EXPECT, name);
    case 7:
        switch (ascii_lower(name.ptr[0])) {
        case 'u':
            return is(FIELD_UPGRADE, name);
        case 'r':
            return is(FIELD_REFERER, name);
        default:
            return is(FIELD_TRAILER, name);
        }
    case 9:
        return is(FIELD_FORWARDED, name);
    case 10:
        switch (ascii_lower(name.ptr[0])) {
        case 'c':
            return is(FIELD_CONNECTION, name);
        case 'k':
            return is(FIELD_KEEP_ALIVE, name);
        default:
            return is(FIELD_USER_AGENT, name);
        }
    case 11:
        switch (ascii_lower(name.ptr[0])) {
        case 't':
            return is(FIELD_TRACEPARENT, name);
        case 'g':
            return is(FIELD_GRPC_STATUS, name);
        default:
            return is(FIELD_RETRY_AFTER, name);
        }
    case 12:
        switch (ascii_lower(name.ptr[0])) {
        case 'c':
            return is(FIELD_CONTENT_TYPE, name);
        case 'g':
            return is(FIELD_GRPC_TIMEOUT, name);
        default:
            return is(FIELD_X_REQUEST_ID, name);
        }
    case 14:
        return is(ascii_lower(name.ptr[0]) == 'c' ? FIELD_CONTENT_LENGTH : FIELD_HTTP2_SETTINGS,
                  name);
    case 15:
        return is(FIELD_X_FORWARDED_FOR, name);
    case 16:
        switch (ascii_lower(name.ptr[0])) {
        case 'p':
            return is(FIELD_PROXY_CONNECTION, name);
        case 'x':
            return is(FIELD_X_FORWARDED_HOST, name);
        default:
            return FIELD_OTHER;
        }
    case 17:
        switch (ascii_lower(name.ptr[2])) {
        case 'a':
            return is(FIELD_TRANSFER_ENCODING, name);
        case 'c':
            return is(FIELD_X_CLIENT_CERT_SAN, name);
        default:
            return is(FIELD_X_FORWARDED_PROTO, name);
        }
    case 18:
        return is(FIELD_PROXY_AUTHENTICATE, name);
    case 19:
        return is(FIELD_PROXY_AUTHORIZATION, name);
    case 21:
        return is(FIELD_X_CLIENT_CERT_SUBJECT, name);
    default:
        return FIELD_OTHER;
    }
}

struct span field_text(enum field_id id)
{
    return known[id].name;
}

bool field_varies(enum field_id id)
{
    switch (id) {
    case FIELD_X_REQUEST_ID:
    case FIELD_X_FORWARDED_FOR:
    case FIELD_FORWARDED:
    case FIELD_TRACEPARENT:
    case FIELD_GRPC_TIMEOUT:
        return true;
    default:
        return false;
    }
}

bool field_hop_by_hop(enum field_id id)
{
    DCHECK(id < FIELD_ID_COUNT);
    return known[id].hop;
}

bool field_removable(struct span name)
{
    static const char *const families[] = {
        "content-", "accept", "if-", "access-control-", "sec-", "x-forwarded-", "proxy-status"};
    static const char *const names[] = {
        "age",           "allow",         "alt-svc",
        "authorization", "cache-control", "cookie",
        "date",          "digest",        "etag",
        "expect",        "expires",       "forwarded",
        "from",          "host",          "last-modified",
        "link",          "location",      "max-forwards",
        "origin",        "pragma",        "priority",
        "range",         "referer",       "retry-after",
        "server",        "set-cookie",    "trailer",
        "traceparent",   "tracestate",    "user-agent",
        "vary",          "via",           "www-authenticate",
        "x-real-ip",     "x-request-id",  "strict-transport-security"};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct span family = span_str(families[i]);
        if (name.len >= family.len && span_eq_nocase(span_of(name.ptr, family.len), family))
            return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (span_eq_nocase(name, span_str(names[i])))
            return false;
    return true;
}

bool field_in_trailers(enum field_id id)
{
    switch (id) {
    case FIELD_HOST:
    case FIELD_CONTENT_LENGTH:
    case FIELD_EXPECT:
    case FIELD_TRAILER:
    case FIELD_X_FORWARDED_FOR:
    case FIELD_X_FORWARDED_PROTO:
    case FIELD_X_FORWARDED_HOST:
    case FIELD_FORWARDED:
    case FIELD_X_CLIENT_CERT_SUBJECT:
    case FIELD_X_CLIENT_CERT_SAN:
        return false;
    default:
        return !field_hop_by_hop(id);
    }
}

bool token_valid(struct span s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool alnum = (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
        if (!alnum && (c == '\0' || strchr(others, c) == NULL))
            return false;
    }
    return true;
}
