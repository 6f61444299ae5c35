/* SPDX-License-Identifier: Apache-2.0 */
/* Reads an HTTP/1 answer just as far as a load generator must: where it ends, and its status. */
#ifndef BENCH_LOAD_ANSWER_H
#define BENCH_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum answer_phase {
    ANSWER_HEAD,
    ANSWER_BODY, /* `left` bytes to come */
    ANSWER_CHUNK_SIZE,
    ANSWER_CHUNK, /* `left` bytes to come, its CRLF among them */
    ANSWER_TRAILER,
    ANSWER_TO_END, /* until the conn ends */
    ANSWER_DONE,
    ANSWER_BAD
};

struct answer {
    enum answer_phase phase;
    uint16_t status; /* 0 until the head is in */
    bool to_head;    /* of a HEAD request: no body, whatever the head says */
    bool close;      /* the conn is not to be used again */
    uint64_t left;
};

/* Takes bytes up to the answer's end and returns how many. What it leaves while the answer is
 * neither done nor bad is an incomplete line or head: show it again, with what follows it. */
size_t answer_feed(struct answer *a, const char *bytes, size_t n);

#endif
