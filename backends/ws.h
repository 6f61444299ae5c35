/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's half of WebSocket (RFC 6455) as far as an echo needs it: the accept key, and a
 * frame by frame echo that streams, so that a frame of any size needs no buffer.
 *
 * Owns no memory and does no I/O. Pure; any thread.
 */
#ifndef WEIR_BACKENDS_WS_H
#define WEIR_BACKENDS_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

#define WS_ACCEPT_LEN 28

/* base64(SHA-1(key + GUID)), RFC 6455 section 4.2.2; accept gets 28 bytes and no NUL. */
void ws_accept(struct span key, char accept[WS_ACCEPT_LEN]);

/* Zeroed: before the first frame. */
struct ws_echo {
    uint8_t head[14]; /* of the frame that is being read */
    uint8_t head_len;
    bool in_payload;
    bool silent; /* a pong: swallowed */
    bool closed; /* a close frame was echoed or a violation answered: nothing may follow */
    uint8_t opcode;
    uint8_t mask[4], mask_at;
    uint64_t left; /* payload bytes still to come */
};

/* Bytes that an output needs beyond the length of the input: a head, completed by one byte, and a
   violation. */
#define WS_SLACK 16

/*
 * Reads in, writes the echoed frames (data frames as they came but unmasked, a pong for each ping,
 * a close for a close or, with 1002, for a violation) to out, which has room for in.len + WS_SLACK
 * bytes. Returns the bytes written. Input after a close is ignored.
 */
size_t ws_feed(struct ws_echo *ws, struct span in, char *out);

#endif
