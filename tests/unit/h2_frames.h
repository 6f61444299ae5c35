/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream that speaks HTTP/2 frame by frame, at the peer's end of a wire: says what it is told
 * to, right or wrong, and tells in text what it got. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_H2_FRAMES_H
#define WEIR_TESTS_H2_FRAMES_H

#include "tests/unit/wire.h"

enum h2_type {
    H2_DATA,
    H2_HEADERS,
    H2_PRIORITY,
    H2_RST_STREAM,
    H2_SETTINGS,
    H2_PUSH_PROMISE,
    H2_PING,
    H2_GOAWAY,
    H2_WINDOW_UPDATE,
    H2_CONTINUATION,
};

#define H2_END     0x1 /* END_STREAM; ACK on SETTINGS and PING */
#define H2_END_HDR 0x4

struct nghttp2_hd_deflater;
struct nghttp2_hd_inflater;

struct h2_frames {
    struct wire *w;
    size_t read; /* of what the wire got */
    bool preface;
    bool acks; /* SETTINGS and PING are answered as they come */
    struct nghttp2_hd_deflater *deflater;
    struct nghttp2_hd_inflater *inflater;
    char notes[16384];
};

void h2_frames_init(struct h2_frames *p, struct wire *w);
void h2_frames_fini(struct h2_frames *p);

/* Says a frame; nothing else happens before wire_settle. */
void h2_say(struct h2_frames *p, enum h2_type type, unsigned flags, uint32_t id,
            const void *payload, size_t n);

/* HEADERS with the fields of "name: value\n" lines. */
void h2_say_headers(struct h2_frames *p, uint32_t id, bool end, const char *fields);
void h2_say_data(struct h2_frames *p, uint32_t id, bool end, const char *text);
void h2_say_rst(struct h2_frames *p, uint32_t id, uint32_t code);
void h2_say_goaway(struct h2_frames *p, uint32_t last, uint32_t code);
void h2_say_window(struct h2_frames *p, uint32_t id, uint32_t n);
/* SETTINGS with one value; id 0: with none. */
void h2_say_setting(struct h2_frames *p, unsigned id, uint32_t value);

/* What it got since the last call, one item for each frame, "|" behind each:
 * "preface", "SETTINGS", "SETTINGS ack", "HEADERS 1 end :method=GET ...", "DATA 1 end abc",
 * "RST 1 8", "GOAWAY 0 1", "PING", "PING ack", "WINDOW 0 65535". Valid until the next. */
const char *h2_got(struct h2_frames *p);

#endif
