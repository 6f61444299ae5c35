/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of any size for a library that brings its own allocator's table of functions (nghttp2):
 * what is given back is kept by classes of size and handed out again, so that steady state calls no
 * malloc. Under AddressSanitizer every piece is a malloc of its own. One thread owns one.
 */
#ifndef WEIR_BASE_RECYCLE_H
#define WEIR_BASE_RECYCLE_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/mem.h"

#define RECYCLE_CLASSES 18            /* 32, 48, 64, 96, ... 8192 and what is larger */
#define RECYCLE_KEEP    (256u * 1024) /* bytes that a class keeps */

struct recycle {
    void *free[RECYCLE_CLASSES];
    uint32_t n_free[RECYCLE_CLASSES];
    uint32_t in_use;
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
