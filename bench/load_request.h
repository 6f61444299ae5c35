/* SPDX-License-Identifier: Apache-2.0 */
/* The requests, all built before the first is sent. */
#ifndef BENCH_LOAD_REQUEST_H
#define BENCH_LOAD_REQUEST_H

#include "bench/load_options.h"

struct request {
    char *bytes;   /* the head, and the body if it is short */
    size_t len;    /* of bytes */
    uint64_t more; /* bytes of body that follow, out of the pattern */
    bool to_head;  /* HEAD: the answer has no body */
};

/* Request number i is all[(i % paths) * kinds + order[i % order_len]]. */
struct requests {
    struct request *all;
    unsigned paths, kinds, order_len;
    uint8_t order[MAX_MIX_TOTAL];
};

void requests_init(struct requests *r, const struct load_options *o);
void requests_fini(struct requests *r);
const struct request *requests_at(const struct requests *r, uint64_t i);

/* Fills with bytes of a pattern whose period is 61, a prime, from place `at` of it. */
enum { PATTERN_PERIOD = 61 };
void pattern_fill(char *to, size_t n, uint64_t at);

/* A head: the request line, Host, the given fields (each with its CRLF), --header's, the end. */
char *request_head(const struct load_options *o, const char *method, const char *path,
                   const char *fields, size_t *len);

#endif
