/* SPDX-License-Identifier: Apache-2.0 */
/* See h2_frames.h. Owns its half of the compression of fields. */
#include "tests/unit/h2_frames.h"

#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

void h2_frames_init(struct h2_frames *p, struct wire *w)
{
    memset(p, 0, sizeof(*p));
    p->w = w;
    p->acks = true;
    CHECK(nghttp2_hd_deflate_new(&p->deflater, 4096) == 0);
    CHECK(nghttp2_hd_inflate_new(&p->inflater) == 0);
}

void h2_frames_fini(struct h2_frames *p)
{
    nghttp2_hd_deflate_del(p->deflater);
    nghttp2_hd_inflate_del(p->inflater);
}

/* ---- saying ---- */

static void put32(uint8_t *to, uint32_t v)
{
    for (int i = 3; i >= 0; i--, v >>= 8)
        to[i] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

void h2_say(struct h2_frames *p, enum h2_type type, unsigned flags, uint32_t id,
            const void *payload, size_t n)
{
    uint8_t *frame = malloc(n + 9);
    CHECK(frame != NULL && n < 1 << 24);
    put32(frame, (uint32_t)n << 8 | type);
    frame[4] = (uint8_t)flags;
    put32(frame + 5, id);
    if (n > 0)
        memcpy(frame + 9, payload, n);
    chain_copy_in(&p->w->saying, &p->w->r.bufs, frame, n + 9);
    free(frame);
    wire_say_bytes(p->w, "", 0);
}

void h2_say_headers(struct h2_frames *p, uint32_t id, bool end, const char *fields)
{
    nghttp2_nv nva[32];
    uint8_t block[4096];
    size_t n = 0;
    for (const char *at = fields; *at != '\0'; n++) {
        const char *colon = strstr(at, ": "), *eol = strchr(at, '\n');
        CHECK(colon != NULL && eol != NULL && n < ARRAY_LEN(nva));
        nva[n] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)at,
                              .namelen = (size_t)(colon - at),
                              .value = (uint8_t *)(uintptr_t)colon + 2,
                              .valuelen = (size_t)(eol - colon - 2)};
        at = eol + 1;
    }
    ssize_t len = nghttp2_hd_deflate_hd(p->deflater, block, sizeof(block), nva, n);
    CHECK(len >= 0);
    h2_say(p, H2_HEADERS, H2_END_HDR | (end ? H2_END : 0), id, block, (size_t)len);
}

void h2_say_data(struct h2_frames *p, uint32_t id, bool end, const char *text)
{
    h2_say(p, H2_DATA, end ? H2_END : 0, id, text, strlen(text));
}

void h2_say_rst(struct h2_frames *p, uint32_t id, uint32_t code)
{
    uint8_t payload[4];
    put32(payload, code);
    h2_say(p, H2_RST_STREAM, 0, id, payload, sizeof(payload));
}

void h2_say_goaway(struct h2_frames *p, uint32_t last, uint32_t code)
{
    uint8_t payload[8];
    put32(payload, last);
    put32(payload + 4, code);
    h2_say(p, H2_GOAWAY, 0, 0, payload, sizeof(payload));
}

void h2_say_window(struct h2_frames *p, uint32_t id, uint32_t n)
{
    uint8_t payload[4];
    put32(payload, n);
    h2_say(p, H2_WINDOW_UPDATE, 0, id, payload, sizeof(payload));
}

void h2_say_setting(struct h2_frames *p, unsigned id, uint32_t value)
{
    uint8_t payload[6] = {(uint8_t)(id >> 8), (uint8_t)id};
    put32(payload + 2, value);
    h2_say(p, H2_SETTINGS, 0, 0, payload, id == 0 ? 0 : sizeof(payload));
}

/* ---- hearing ---- */

static void note(struct h2_frames *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void note(struct h2_frames *p, const char *format, ...)
{
    va_list args;
    size_t n = strlen(p->notes);
    va_start(args, format);
    n += (size_t)vsnprintf(p->notes + n, sizeof(p->notes) - n, format, args);
    va_end(args);
    CHECK(n < sizeof(p->notes));
}

static void note_fields(struct h2_frames *p, const uint8_t *at, size_t n)
{
    for (int flags = 0; !(flags & NGHTTP2_HD_INFLATE_FINAL);) {
        nghttp2_nv nv;
        ssize_t used = nghttp2_hd_inflate_hd2(p->inflater, &nv, &flags, at, n, 1);
        CHECK(used >= 0);
        at += used;
        n -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            note(p, " %.*s=%.*s", (int)nv.namelen, nv.name, (int)nv.valuelen, nv.value);
    }
    nghttp2_hd_inflate_end_headers(p->inflater);
}

static void note_frame(struct h2_frames *p, unsigned type, unsigned flags, uint32_t id,
                       const uint8_t *at, size_t n)
{
    const char *end = flags & H2_END ? " end" : "", *ack = flags & H2_END ? " ack" : "";
    switch (type) {
    case H2_DATA:
        note(p, "DATA %u%s %.*s|", id, end, (int)(n < 64 ? n : 64), at);
        break;
    case H2_HEADERS:
        CHECK(flags & H2_END_HDR);
        note(p, "HEADERS %u%s", id, end);
        note_fields(p, flags & 0x20 ? at + 5 : at, flags & 0x20 ? n - 5 : n);
        note(p, "|");
        break;
    case H2_RST_STREAM:
        note(p, "RST %u %u|", id, get32(at));
        break;
    case H2_SETTINGS:
        note(p, "SETTINGS%s|", ack);
        if (p->acks && !(flags & H2_END))
            h2_say(p, H2_SETTINGS, H2_END, 0, NULL, 0);
        break;
    case H2_PING:
        note(p, "PING%s|", ack);
        if (p->acks && !(flags & H2_END))
            h2_say(p, H2_PING, H2_END, 0, at, n);
        break;
    case H2_GOAWAY:
        note(p, "GOAWAY %u %u|", get32(at), get32(at + 4));
        break;
    case H2_WINDOW_UPDATE:
        note(p, "WINDOW %u %u|", id, get32(at));
        break;
    default:
        note(p, "type %u %u|", type, id);
    }
}

/* The next whole frame of what was got. False: there is none. */
static bool next_frame(struct h2_frames *p)
{
    const uint8_t *at = (const uint8_t *)p->w->got + p->read;
    size_t left = p->w->got_len - p->read;
    if (!p->preface) {
        if (left < strlen(PREFACE))
            return false;
        p->preface = memcmp(at, PREFACE, strlen(PREFACE)) == 0;
        note(p, p->preface ? "preface|" : "no preface|");
        p->preface = true;
        p->read += strlen(PREFACE);
        return true;
    }
    size_t n = left < 9 ? 0 : get32(at) >> 8;
    if (left < 9 + n)
        return false;
    uint8_t *frame = malloc(9 + n); /* an answer makes more come, and what was got moves */
    CHECK(frame != NULL);
    memcpy(frame, at, 9 + n);
    p->read += 9 + n;
    note_frame(p, frame[3], frame[4], get32(frame + 5) & 0x7fffffff, frame + 9, n);
    free(frame);
    return true;
}

const char *h2_got(struct h2_frames *p)
{
    static char taken[sizeof(p->notes)];
    p->notes[0] = '\0';
    while (next_frame(p)) {}
    memcpy(taken, p->notes, sizeof(taken));
    return taken;
}
