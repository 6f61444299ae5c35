/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault knobs: one table of rows that names, types, bounds and documents each of them. The
 * same rows make the command-line flags (--fault-NAME), the request fields (X-Fault-NAME), the
 * query parameters (fault-NAME) and the text of --help, so that the four can't drift apart.
 *
 * Owns no memory and does no I/O. Pure; any thread.
 */
#ifndef WEIR_BACKENDS_KNOBS_H
#define WEIR_BACKENDS_KNOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

/* Where in a response something is to go wrong. */
enum cut_where { CUT_NEVER, CUT_BEFORE_HEAD, CUT_IN_HEAD, CUT_IN_BODY };

struct cut {
    enum cut_where where;
    uint64_t bytes; /* CUT_IN_BODY: content bytes that are still sent */
};

/* Interim responses to send first, in order. */
struct interim {
    uint16_t status[4];
    uint32_t count;
};

#define KNOB_TEXT_MAX 256 /* with the terminating NUL */

/* X(ID, name, kind, type, member, min, max, argument, documentation) */
#define KNOBS(X)                                                                               \
    X(DELAY, "delay", KNOB_NUMBER, uint64_t, delay_ms, 0, 86400000, "MS",                      \
      "wait MS milliseconds before the head")                                                  \
    X(STATUS, "status", KNOB_NUMBER, uint64_t, status, 200, 599, "CODE",                       \
      "answer with status CODE (200..599) instead of 200; 204 and 304 have no body")           \
    X(BODY_SIZE, "body-size", KNOB_NUMBER, uint64_t, body_size, 0, UINT64_C(1) << 40, "N",     \
      "answer N bytes of the pattern that /bytes/N sends instead of the text")                 \
    X(CHUNK_SIZE, "chunk-size", KNOB_NUMBER, uint64_t, chunk_size, 1, UINT64_C(1) << 40, "N",  \
      "send the body chunked, N bytes a chunk (the last may be shorter)")                      \
    X(SLOW, "slow", KNOB_NUMBER, uint64_t, slow_ms, 1, 86400000, "MS",                         \
      "slow body: wait MS between pieces; the first piece goes with the head")                 \
    X(SLOW_BYTES, "slow-bytes", KNOB_NUMBER, uint64_t, slow_bytes, 1, UINT64_C(1) << 40, "N",  \
      "size of a piece of a slow body (default: one chunk if chunked, else 1 byte)")           \
    X(RESET, "reset", KNOB_CUT, struct cut, reset, 0, UINT64_MAX, "WHERE",                     \
      "TCP RST at WHERE = before-head, in-head (after half of it) or N (after N body bytes)")  \
    X(CLOSE, "close", KNOB_CUT, struct cut, close, 0, UINT64_MAX, "WHERE",                     \
      "close (FIN) at WHERE, as for reset; an upgraded conn only ends its own direction")      \
    X(STALL, "stall", KNOB_CUT, struct cut, stall, 0, UINT64_MAX, "WHERE",                     \
      "go silent at WHERE, as for reset: the conn stays open, input is read and ignored")      \
    X(CLOSE_AFTER, "close-after", KNOB_NUMBER, uint64_t, close_after, 1, UINT32_MAX, "N",      \
      "close a conn unannounced once it has been answered N times")                            \
    X(IDLE, "idle", KNOB_NUMBER, uint64_t, idle_ms, 1, 86400000, "MS",                         \
      "close a conn unannounced after MS without a request")                                   \
    X(CONNECTION_CLOSE, "connection-close", KNOB_FLAG, bool, connection_close, 0, 1, "",       \
      "send Connection: close, and close after the response")                                  \
    X(NO_LENGTH, "no-length", KNOB_FLAG, bool, no_length, 0, 1, "",                            \
      "neither Content-Length nor chunked: the end of the conn ends the body")                 \
    X(HTTP10, "http10", KNOB_FLAG, bool, http10, 0, 1, "",                                     \
      "answer as HTTP/1.0: never chunked, closed after the response")                          \
    X(TRAILERS, "trailers", KNOB_TEXT, struct knob_text, trailers, 0, 0, "FIELDS",             \
      "send FIELDS (`Name: value`, several split by `|`) as trailers; makes the body chunked") \
    X(FIELDS, "fields", KNOB_TEXT, struct knob_text, fields, 0, 0, "FIELDS",                   \
      "add FIELDS (as for trailers) to the head")                                              \
    X(INFO, "info", KNOB_INTERIM, struct interim, info, 100, 199, "CODES",                     \
      "send interim responses first: up to 4 of 100..199 but 101, split by commas (100,103)")  \
    X(EARLY, "early", KNOB_FLAG, bool, early, 0, 1, "",                                        \
      "answer when the request head is in, before its body, and without a 100 (Continue)")     \
    X(NO_UPGRADE, "no-upgrade", KNOB_FLAG, bool, no_upgrade, 0, 1, "",                         \
      "ignore Upgrade: answer as if the request had none")

struct knob_text {
    char text[KNOB_TEXT_MAX]; /* NUL-terminated */
};

enum knob_kind { KNOB_NUMBER, KNOB_FLAG, KNOB_CUT, KNOB_TEXT, KNOB_INTERIM };

enum knob_id {
#define KNOB_ID(id, ...) KNOB_##id,
    KNOBS(KNOB_ID)
#undef KNOB_ID
        KNOB_COUNT
};

/* Zeroed: no knob is set. */
struct knobs {
    uint32_t set; /* bit of every knob_id that was given */
#define KNOB_MEMBER(id, name, kind, type, member, ...) type member;
    KNOBS(KNOB_MEMBER)
#undef KNOB_MEMBER
};

struct knob_row {
    const char *name;
    enum knob_kind kind;
    size_t offset, size; /* of the value in struct knobs */
    uint64_t min, max;   /* range of a number */
    const char *arg, *doc;
};

extern const struct knob_row knob_rows[KNOB_COUNT];

/* True if the knob was given, by whatever way. k may be NULL: none was. */
static inline bool knobs_has(const struct knobs *k, enum knob_id id)
{
    return k && (k->set & UINT32_C(1) << id);
}

/*
 * Sets the knob called name (ASCII case is ignored, no prefix) from its text. An empty value turns
 * a flag on. Returns NULL, or what is wrong as static text; k is unchanged then.
 */
const char *knobs_set(struct knobs *k, struct span name, struct span value);

/* Gives k every knob of defaults that it doesn't have itself. */
void knobs_merge(struct knobs *k, const struct knobs *defaults);

/* Reads a decimal number of digits only into *n. Returns false on anything else or overflow. */
bool parse_number(struct span text, uint64_t *n);

#endif
