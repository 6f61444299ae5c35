/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one thread, one loop, one listening socket, and what its conns borrow while one of
 * them is being served: the buffer that reads go to, the buffer that answers are built in, and the
 * usual answer ready to copy.
 *
 * Owns its conns. Everything here but worker_stop() and the stats shard belongs to its thread.
 */
#ifndef WEIR_BACKENDS_WORKER_H
#define WEIR_BACKENDS_WORKER_H

#include <openssl/types.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "backends/options.h"
#include "backends/stats.h"
#include "proxy/base/list.h"

#define IN_CAP   (64u << 10)  /* what is read at once; also the largest request head */
#define OUT_HIGH (64u << 10)  /* at this fill the output is written before more is added */
#define OUT_CAP  (256u << 10) /* OUT_HIGH plus the most that one step may add */

/* What all workers share: read-only but for the atomics. */
struct service {
    const struct options *opt;
    SSL_CTX *tls; /* NULL: none */
    struct stats **shards;
    size_t workers;
    int ledger;                  /* -1: none */
    _Atomic uint32_t fault_turn; /* counts requests for --fault-every */
};

/* The output of the conn that is being served; empty whenever no conn is. */
struct output {
    char *data; /* OUT_CAP bytes */
    size_t len;
};

enum canned_kind {
    CANNED_KEEP,    /* HTTP/1.1, the conn stays */
    CANNED_CLOSE,   /* with Connection: close */
    CANNED_KEEP_10, /* HTTP/1.0, with Connection: keep-alive */
    CANNED_KINDS
};

/* The usual answer in one piece. */
struct canned {
    char *data;
    size_t len, head_len;
};

#define DATE_LEN 29 /* an IMF-fixdate, RFC 9110 section 5.6.7 */

#define WORKER_MAGIC MAGIC('b', 'w', 'r', 'k')

struct worker {
    uint32_t magic;
    struct service *service;
    struct stats *stats;
    struct list_node conns;
    struct list_node yielding; /* conns that could go on but let the others have their turn */
    struct output out;
    char *in; /* IN_CAP bytes */
    struct canned canned[CANNED_KINDS];
    char date[DATE_LEN + 1];
    uv_loop_t loop;
    uv_timer_t date_timer;
    uv_idle_t next_turn; /* runs while a conn is yielding */
    uv_async_t stop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } listener;
    bool is_unix;
    uv_thread_t thread;
};

/*
 * A worker that listens on fd, which it owns from then on, also if this fails. Call from the main
 * thread before any worker runs. Returns NULL with *err a libuv error.
 */
struct worker *worker_new(struct service *service, struct stats *stats, int fd, bool is_unix,
                          int *err);

/* Runs the loop in a thread of its own. Returns 0 or a libuv error. */
int worker_start(struct worker *w);

/* Makes the loop end all conns and itself. Any thread. */
void worker_stop(struct worker *w);

/* Waits for the thread. */
void worker_join(struct worker *w);

/* Frees a worker that was joined, or never started. NULL is fine. */
void worker_free(struct worker *w);

/* Room for n more bytes at the end of the output, which then counts them as written. */
char *output_extend(struct output *out, size_t n);

void output_append(struct output *out, const char *ptr, size_t len);

#endif
