/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket's key and answer, and the SHA-1 that they want. Owns nothing; any thread. */
#include "proxy/http/websocket.h"

#include <unistd.h>

#include "proxy/base/base64.h"
#include "proxy/base/check.h"

#define SHA1_BLOCK 64
#define SHA1_BYTES 20
#define KEY_MAX    256 /* a longer one is no key, and is not answered rightly */

static const struct span guid = {"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36};

/* ---- SHA-1 (RFC 3174): no secret depends on it here ---- */

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static uint32_t mix(int round, uint32_t b, uint32_t c, uint32_t d)
{
    switch (round / 20) {
    case 0:
        return ((b & c) | (~b & d)) + 0x5a827999u;
    case 1:
        return (b ^ c ^ d) + 0x6ed9eba1u;
    case 2:
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu;
    default:
        return (b ^ c ^ d) + 0xca62c1d6u;
    }
}

static void sha1_block(uint32_t h[5], const uint8_t *at)
{
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++, at += 4)
        w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t t = rotate(a, 5) + mix(i, b, c, d) + e + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* Of at most KEY_MAX and a few bytes. */
static void sha1(const uint8_t *bytes, size_t n, uint8_t out[SHA1_BYTES])
{
    uint32_t h[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    uint8_t last[2 * SHA1_BLOCK] = {0};
    size_t whole = n / SHA1_BLOCK * SHA1_BLOCK, rest = n - whole;
    size_t end = rest + 9 <= SHA1_BLOCK ? SHA1_BLOCK : 2 * SHA1_BLOCK;
    for (size_t at = 0; at < whole; at += SHA1_BLOCK)
        sha1_block(h, bytes + at);
    memcpy(last, bytes + whole, rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        last[end - 1 - (size_t)i] = (uint8_t)((uint64_t)n * 8 >> (8 * i));
    for (size_t at = 0; at < end; at += SHA1_BLOCK)
        sha1_block(h, last + at);
    for (int i = 0; i < SHA1_BYTES; i++)
        out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- the handshake ---- */

static bool is_websocket(struct span upgrade)
{
    return span_eq_nocase(upgrade, SPAN_LIT("websocket"));
}

/* Its fields are read once in the life of a tunnel: they have no number of their own. */
static const struct http_field *find(const struct http_head *head, struct span name)
{
    for (unsigned i = 0; i < head->n_fields; i++)
        if (!(head->fields[i].flags & FIELD_DROPPED) &&
            span_eq_nocase(field_name(&head->fields[i]), name))
            return &head->fields[i];
    return NULL;
}

bool websocket_needs_key(const struct http_head *request)
{
    return request->version == 20 && is_websocket(request->upgrade) &&
           find(request, WEBSOCKET_KEY_FIELD) == NULL;
}

bool websocket_needs_accept(const struct http_head *request, const struct http_head *response,
                            struct span *key)
{
    const struct http_field *f = find(request, WEBSOCKET_KEY_FIELD);
    if (response->version != 20 || !is_websocket(response->upgrade) || f == NULL ||
        find(response, WEBSOCKET_ACCEPT_FIELD) != NULL)
        return false;
    *key = field_value(f);
    return true;
}

bool websocket_key(char out[WEBSOCKET_KEY])
{
    uint8_t random[16];
    if (getentropy(random, sizeof(random)) != 0)
        return false;
    base64_encode(span_of((const char *)random, sizeof(random)), out);
    return true;
}

void websocket_accept(struct span key, char out[WEBSOCKET_ACCEPT])
{
    uint8_t text[KEY_MAX + 36], sum[SHA1_BYTES];
    size_t n = key.len < KEY_MAX ? key.len : KEY_MAX;
    memcpy(text, key.ptr, n);
    memcpy(text + n, guid.ptr, guid.len);
    sha1(text, n + guid.len, sum);
    base64_encode(span_of((const char *)sum, sizeof(sum)), out);
}

bool websocket_take_accept(struct http_head *response, const char accept[WEBSOCKET_ACCEPT])
{
    unsigned found = 0, right = 0;
    for (unsigned i = 0; i < response->n_fields; i++) {
        struct http_field *f = &response->fields[i];
        if (!span_eq_nocase(field_name(f), WEBSOCKET_ACCEPT_FIELD))
            continue;
        found++;
        right += span_eq(field_value(f), span_of(accept, WEBSOCKET_ACCEPT));
        f->flags |= FIELD_DROPPED;
    }
    return found == 1 && right == 1;
}
