/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of any size for a library that brings its own allocator's table of functions (nghttp2):
 * what is given back is kept by classes of size and handed out again, so that steady state calls no
 * malloc. Pieces of 8 to 16 KiB are sparse: what is never written to costs no memory, for such
 * buffers (an idle session has one) are used at their beginning, if at all. Under AddressSanitizer
 * every piece is a malloc of its own. One thread owns one.
 */
#ifndef WEIR_BASE_RECYCLE_H
#define WEIR_BASE_RECYCLE_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/mem.h"
#include "proxy/base/stats.h"

#define RECYCLE_CLASSES 19                 /* 32, 48, 64, 96, ... 8192, sparse ones, larger ones */
#define RECYCLE_SPARSE  (16u * 1024 + 256) /* the largest of those */
#define RECYCLE_KEEP    (256u * 1024)      /* bytes of malloc's that a class keeps */

struct region;

struct recycle {
    void *free[RECYCLE_CLASSES];
    uint32_t n_free[RECYCLE_CLASSES];
    uint32_t in_use;
    uint32_t slots_left;    /* of the first region */
    struct region *regions; /* what sparse pieces are carved of */
    char *small;            /* of the last one's first page, for small pieces */
    size_t small_left;
    struct counter held;   /* bytes of malloc's, and of the first page of each sparse piece */
    struct mem_fund *fund; /* for when malloc fails; the owner's, NULL for none */
};

/* Nothing is kept yet. fund must outlive it; NULL for none. */
void recycle_init(struct recycle *r, struct mem_fund *fund);

/* Everything must have been given back (checked). */
void recycle_fini(struct recycle *r);

/* size bytes, aligned as malloc does; NULL only if malloc fails. */
void *recycle_get(struct recycle *r, size_t size);

/* Gives a piece back; NULL is fine. */
void recycle_put(struct recycle *r, void *piece);

/* As realloc: piece may be NULL; on failure NULL, and piece stays as it is. */
void *recycle_resize(struct recycle *r, void *piece, size_t size);

#endif
