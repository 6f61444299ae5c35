/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 in the rig: how a peer talks it, and a second reader of frames for the judgement, which
 * shares with weir's only the HPACK of nghttp2.
 *
 * A peer that talks HTTP/2 says its preface and SETTINGS by itself, and acknowledges what wants it,
 * as the settings of the script say. What RIG_REQUEST, RIG_ANSWER and RIG_BULK say is right and
 * keeps within weir's windows. Bytes of the script are one frame: what it is (enum talk_frame), its
 * flags, its stream, and a payload:
 *
 *   stream   0..63 is the id; from 64 on a new one (a client's), from 128 on the nth newest
 */
#ifndef WEIR_TESTS_RIG_H2_H
#define WEIR_TESTS_RIG_H2_H

#include "tests/fuzz/rig.h"

enum talk_frame {
    /* 0..9 are the types of frames; the payload is as it is in the script */
    TALK_FIELDS = 10, /* HEADERS with a field of the shelf for each byte of the payload */
    TALK_RAW,         /* no frame: the bytes of the payload */
    TALK_DATA,        /* DATA of as many bytes as the first of the payload says, times 64 */
    TALK_SETTING,     /* SETTINGS: numbers of a setting and of a value on the shelf */
    TALK_WINDOW,      /* WINDOW_UPDATE: number of a value */
    TALK_LONGER,      /* a frame whose length is not that of its payload; its type comes first */
    TALK_FRAMES,
};

/* ---- talking: rig_h2.c ---- */

struct talk *talk_new(bool client);
void talk_free(struct talk *t);

/* Answers what was read, and says of what is queued as much as weir has windows for. */
bool talk_go_on(struct rig_peer *p);
void talk_frame(struct rig_peer *p, const char *at, size_t n);
void talk_request(struct rig_peer *p, unsigned n);
void talk_answer(struct rig_peer *p, unsigned n);
void talk_bulk(struct rig_peer *p, size_t n);
/* Has it said nothing but what is right? */
bool talk_polite(const struct rig_peer *p);

/* ---- reading: rig_h2_read.c ---- */

/* What one side said on one stream. */
struct h2_msg {
    uint32_t id;
    bool head; /* a request's, or the final one of a response */
    struct bytes method, path, authority, protocol, request_id, body;
    unsigned status;
    bool ended, reset;
    uint32_t code; /* of the reset */
};

struct h2_words {
    struct h2_msg *msgs;
    size_t n;
    bool goaway;
    uint32_t last;     /* of the lowest GOAWAY */
    bool cut;          /* a frame is not all there */
    const char *wrong; /* the first thing that no peer may say; NULL: there is none */
};

/* All of what one side said; client: the one that opens streams. */
void h2_read_words(struct h2_words *w, const struct bytes *wire, bool client);
void h2_free_words(struct h2_words *w);
struct h2_msg *h2_find_msg(const struct h2_words *w, uint32_t id);

#endif
