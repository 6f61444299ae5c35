/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that cost the peer next to nothing and us something (CVE-2019-9511 and those after it,
 * CVE-2023-44487): each kind has a purse of tokens that fills with time, and with what makes such
 * frames legitimate. Pure: no clock of its own; one thread.
 */
#ifndef WEIR_HTTP_H2_FLOOD_H
#define WEIR_HTTP_H2_FLOOD_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/reason.h"

enum h2_flood_kind {
    FLOOD_RESET,        /* a stream was reset, by the peer or for what it did */
    FLOOD_CONTINUATION, /* within one header section */
    FLOOD_SETTINGS,
    FLOOD_PING,
    FLOOD_EMPTY_DATA, /* without a byte, and not the end */
    FLOOD_PRIORITY,   /* PRIORITY and PRIORITY_UPDATE; nghttp2 skips what it doesn't know */
    FLOOD_WINDOW,
    FLOOD_KINDS
};

struct h2_flood {
    uint64_t at_ms; /* when the purses were filled last */
    uint32_t tokens[FLOOD_KINDS];
};

/* Full purses. */
void h2_flood_init(struct h2_flood *f, uint64_t now_ms);

/* One more of the kind. REASON_NONE, or why the conn has to end. */
enum reason h2_flood_count(struct h2_flood *f, enum h2_flood_kind kind, uint64_t now_ms);

/* A header section is complete: the next one may have pieces of its own. */
void h2_flood_section(struct h2_flood *f);

/* The peer opened a stream, which comes with some window updates, priorities and the like. */
void h2_flood_stream(struct h2_flood *f);

/* A DATA frame was sent to the peer, who may answer with window updates and pings. */
void h2_flood_data_sent(struct h2_flood *f);

#endif
