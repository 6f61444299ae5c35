/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-1 (FIPS 180-4), base64 (RFC 4648) and WebSocket frames. SHA-1 is used as RFC 6455 asks, to
 * show that the server understood the handshake; nothing here depends on its strength.
 * Never does I/O, never allocates; any thread.
 */
#include "backends/ws.h"

enum { OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum { BIT_FIN = 0x80, BITS_RSV = 0x70, BITS_OPCODE = 0x0f, BIT_CONTROL = 0x08, BIT_MASK = 0x80 };

static uint32_t rotl(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t sha1_mix(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
    switch (round / 20) {
    case 0:
        return ((b & c) | (~b & d)) + 0x5a827999;
    case 1:
        return (b ^ c ^ d) + 0x6ed9eba1;
    case 2:
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    default:
        return (b ^ c ^ d) + 0xca62c1d6;
    }
}

static void sha1_block(uint32_t h[5], const uint8_t block[64])
{
    uint32_t w[80];
    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (unsigned i = 16; i < 80; i++)
        w[i] = rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned i = 0; i < 80; i++) {
        uint32_t t = rotl(a, 5) + sha1_mix(i, b, c, d) + e + w[i];
        e = d, d = c, c = rotl(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* Of at most 119 bytes, two blocks: a key and the GUID are 60. */
static void sha1_short(const uint8_t *data, size_t len, uint8_t digest[20])
{
    uint8_t blocks[128] = {0};
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t total = len + 9 <= 64 ? 64 : 128;
    memcpy(blocks, data, len);
    blocks[len] = 0x80;
    blocks[total - 2] = (uint8_t)(len * 8 >> 8);
    blocks[total - 1] = (uint8_t)(len * 8);
    for (size_t at = 0; at < total; at += 64)
        sha1_block(h, blocks + at);
    for (size_t i = 0; i < 20; i++)
        digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* Twenty bytes to 28 characters, the last of which is padding. */
static void base64_digest(const uint8_t digest[20], char out[WS_ACCEPT_LEN])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < 7; i++) {
        uint32_t v = (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8;
        if (3 * i + 2 < 20)
            v |= digest[3 * i + 2];
        for (size_t j = 0; j < 4; j++)
            out[4 * i + j] = digits[v >> (18 - 6 * j) & 63];
    }
    out[WS_ACCEPT_LEN - 1] = '=';
}

void ws_accept(struct span key, char accept[WS_ACCEPT_LEN])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t text[119], digest[20];
    size_t room = sizeof(text) - (sizeof(guid) - 1);
    size_t n = key.len < room ? key.len : room;
    memcpy(text, key.ptr, n);
    memcpy(text + n, guid, sizeof(guid) - 1);
    sha1_short(text, n + sizeof(guid) - 1, digest);
    base64_digest(digest, accept);
}

/* Bytes that the head of the current frame has, as far as its first two tell. */
static size_t head_size(const struct ws_echo *ws)
{
    if (ws->head_len < 2)
        return 2;
    unsigned len7 = ws->head[1] & 0x7f;
    return 2 + (len7 == 126 ? 2 : len7 == 127 ? 8 : 0) + 4;
}

/* RFC 6455 sections 5.1, 5.2 and 5.5: masked, no extension, control frames whole and short. */
static bool head_ok(const struct ws_echo *ws)
{
    uint8_t op = ws->head[0] & BITS_OPCODE;
    bool control = op & BIT_CONTROL;
    if (!(ws->head[1] & BIT_MASK) || (ws->head[0] & BITS_RSV))
        return false;
    if (control && (!(ws->head[0] & BIT_FIN) || (ws->head[1] & 0x7f) > 125))
        return false;
    return control ? op <= OP_PONG : op <= 2;
}

static void frame_begin(struct ws_echo *ws)
{
    size_t len_bytes = head_size(ws) - 2 - 4;
    ws->left = len_bytes ? 0 : ws->head[1] & 0x7f;
    for (size_t i = 0; i < len_bytes; i++)
        ws->left = ws->left << 8 | ws->head[2 + i];
    memcpy(ws->mask, ws->head + 2 + len_bytes, 4);
    ws->mask_at = 0;
    ws->in_payload = true;
    ws->opcode = ws->head[0] & BITS_OPCODE;
    ws->silent = ws->opcode == OP_PONG;
}

/* The head of the answer is the one that came, without the mask; a ping becomes a pong. */
static size_t frame_head(const struct ws_echo *ws, char *out)
{
    size_t n = head_size(ws) - 4;
    if (ws->silent)
        return 0;
    memcpy(out, ws->head, n);
    if (ws->opcode == OP_PING)
        out[0] = (char)(BIT_FIN | OP_PONG);
    out[1] = (char)(ws->head[1] & 0x7f);
    return n;
}

static size_t violation(struct ws_echo *ws, char *out)
{
    static const uint8_t frame[] = {BIT_FIN | OP_CLOSE, 2, 1002 >> 8, 1002 & 0xff};
    memcpy(out, frame, sizeof(frame));
    ws->closed = true;
    return sizeof(frame);
}

/* Takes bytes of a head; returns how many. */
static size_t feed_head(struct ws_echo *ws, struct span in)
{
    size_t n = 0;
    while (n < in.len && ws->head_len < head_size(ws))
        ws->head[ws->head_len++] = (uint8_t)in.ptr[n++];
    return n;
}

static size_t feed_payload(struct ws_echo *ws, struct span in, char *out)
{
    size_t n = in.len < ws->left ? in.len : (size_t)ws->left;
    if (!ws->silent)
        for (size_t i = 0; i < n; i++)
            out[i] = (char)((uint8_t)in.ptr[i] ^ ws->mask[(ws->mask_at + i) & 3]);
    ws->mask_at = (uint8_t)((ws->mask_at + n) & 3);
    ws->left -= n;
    return n;
}

static void frame_end(struct ws_echo *ws)
{
    ws->closed = ws->opcode == OP_CLOSE;
    ws->in_payload = false;
    ws->head_len = 0;
}

size_t ws_feed(struct ws_echo *ws, struct span in, char *out)
{
    size_t made = 0;
    while (in.len > 0 && !ws->closed) {
        size_t n;
        if (ws->in_payload) {
            n = feed_payload(ws, in, out + made);
            made += ws->silent ? 0 : n;
        } else {
            n = feed_head(ws, in);
            if (ws->head_len >= 2 && !head_ok(ws))
                return made + violation(ws, out + made);
            if (ws->head_len == head_size(ws)) {
                frame_begin(ws);
                made += frame_head(ws, out + made);
            }
        }
        in.ptr += n;
        in.len -= n;
        if (ws->in_payload && ws->left == 0)
            frame_end(ws);
    }
    return made;
}
