/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates, and authorities, of listeners and of pools that change while weir runs
 * (watch/file_watch.h). What has changed is read and checked; if it is good it replaces what is in
 * use, else the old stays and the error is told. Control thread.
 */
#ifndef WEIR_CERT_WATCH_H
#define WEIR_CERT_WATCH_H

#include <stdbool.h>
#include <uv.h>

#include "proxy/snapshot.h"

struct cert_watch;

/* Called with a new set, which is the watch's: whoever keeps it counts itself. False: it could not
 * be put to use, and the old one stays. index: in snapshot.tls, here and below. */
typedef bool cert_swap_fn(void *ctx, size_t index, const struct tls_set *set);

/* Watches nothing yet. Never NULL. */
struct cert_watch *cert_watch_new(uv_loop_t *loop, cert_swap_fn *swap, void *ctx);

/* Watches what the snapshot is made of, which must live until the next call, and nothing else. What
 * is new begins with what the snapshot has read; what stays goes on. Not after cert_watch_close. */
void cert_watch_use(struct cert_watch *watch, const struct snapshot *snap);

/* Whether there is any TLS. NULL is fine. */
bool cert_watch_any(const struct cert_watch *watch);

/* Stops; the loop must run before cert_watch_free. NULL is fine for both. */
void cert_watch_close(struct cert_watch *watch);
void cert_watch_free(struct cert_watch *watch);

/* Of a listener or a pool with TLS. */
struct cert_status {
    const struct tls_source *source;
    const struct tls_certs *certs; /* in use, until the next turn; NULL: a pool shows none */
    uint64_t reloads, errors;
    bool failed; /* the files are not what is in use, because something is wrong with them */
};

/* False: there is no TLS at index. watch may be NULL. */
bool cert_watch_status(const struct cert_watch *watch, size_t index, struct cert_status *out);

#endif
