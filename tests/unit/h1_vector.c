/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See h1_vector.h. Owns the feeds.
 */
#include "tests/unit/h1_vector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

const struct h1_limits vector_wide = {
    .body_bytes = UINT64_MAX, .header_bytes = 32768, .target_bytes = 8192, .headers = 100};

static struct h1_feed *feed_new(const struct vector *v, bool response,
                                const struct h1_limits *limits)
{
    struct h1_feed *f = malloc(sizeof(*f));
    assert_non_null(f);
    h1_feed_init(f, response, limits);
    f->to_head = v->to_head;
    f->to_upgrade = v->to_upgrade;
    f->tunnel = v->tunnel;
    return f;
}

static void feed_end(struct h1_feed *f, const struct vector *v, const char *how, size_t at)
{
    const char *got = h1_feed_text(f);
    if (strcmp(got, v->want) != 0)
        fail_msg("%s %zu of:\n%.*s\ngot:  %s\nwant: %s", how, at, (int)v->in.len, v->in.ptr, got,
                 v->want);
    h1_feed_fini(f);
    free(f);
}

static void run_whole(const struct vector *v, bool response, const struct h1_limits *limits)
{
    struct h1_feed *f = feed_new(v, response, limits);
    h1_feed_bytes(f, v->in.ptr, v->in.len, false);
    feed_end(f, v, "whole", 0);
}

static void run_split(const struct vector *v, bool response, const struct h1_limits *limits,
                      size_t at, bool move)
{
    struct h1_feed *f = feed_new(v, response, limits);
    h1_feed_bytes(f, v->in.ptr, at, false);
    h1_feed_bytes(f, v->in.ptr + at, v->in.len - at, move);
    feed_end(f, v, move ? "moved at" : "split at", at);
}

static void run_bytes(const struct vector *v, bool response, const struct h1_limits *limits,
                      bool move)
{
    struct h1_feed *f = feed_new(v, response, limits);
    for (size_t i = 0; i < v->in.len; i++)
        h1_feed_bytes(f, v->in.ptr + i, 1, move && i > 0);
    feed_end(f, v, move ? "moved byte by byte" : "byte by byte", 0);
}

void vector_run(const struct vector *v, bool response, const struct h1_limits *limits)
{
    run_whole(v, response, limits);
    for (size_t at = 1; at < v->in.len; at++) {
        run_split(v, response, limits, at, false);
        run_split(v, response, limits, at, true);
    }
    run_bytes(v, response, limits, false);
    run_bytes(v, response, limits, true);
}

void vector_run_all(const struct vector *vectors, size_t n, bool response)
{
    for (size_t i = 0; i < n; i++)
        vector_run(&vectors[i], response, &vector_wide);
}
