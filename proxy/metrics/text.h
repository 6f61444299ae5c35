/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prometheus text (exposition format 0.0.4) as it is written, and the sums over workers that it is
 * made of. Control thread.
 */
#ifndef WEIR_METRICS_TEXT_H
#define WEIR_METRICS_TEXT_H

#include <inttypes.h>

#include "proxy/base/buf.h"
#include "proxy/base/span.h"
#include "proxy/base/stats.h"

struct text {
    struct buf_pool *pool;
    struct chain *out;
    struct block *block; /* the last one; the owner drops it in the end */
};

#define TEXT_LABEL 512 /* of a label's value, NUL included */

/* Appends lines, which are not longer than 4 KiB together. */
__attribute__((format(printf, 2, 3))) void text_line(struct text *t, const char *format, ...);

/* A label's value: backslash, quote and line feed escaped; what is too long is cut. Returns out. */
const char *text_label(struct span value, char out[TEXT_LABEL]);

/* What a family begins with. type: counter, gauge or histogram. */
void text_head(struct text *t, const char *name, const char *type, const char *help);

/* A family of one number without labels. */
void text_single(struct text *t, const char *name, const char *type, const char *help, uint64_t n);

/* Over the workers of a struct admin_view: of a counter of their statistics, */
#define SUM(view, member)                                           \
    __extension__({                                                 \
        uint64_t sum_ = 0;                                          \
        for (unsigned w_ = 0; w_ < (view)->n_workers; w_++)         \
            sum_ += counter_get(&(view)->workers[w_].stats.member); \
        sum_;                                                       \
    })

/* ... and of one that is counted by listener, route or pool. */
#define SUM_LATEST(view, member)                                      \
    __extension__({                                                   \
        uint64_t sum_ = 0;                                            \
        for (unsigned w_ = 0; w_ < (view)->n_workers; w_++)           \
            sum_ += counter_get(&(view)->workers[w_].latest->member); \
        sum_;                                                         \
    })

#endif
