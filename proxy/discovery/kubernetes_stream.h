/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an API server of Kubernetes writes: the events of a watch, one JSON object in each line, and
 * the pages of a list. Takes any bytes, in any pieces; holds one line at most. Pure; one thread.
 */
#ifndef WEIR_DISCOVERY_KUBERNETES_STREAM_H
#define WEIR_DISCOVERY_KUBERNETES_STREAM_H

#include "proxy/discovery/kubernetes_slices.h"

#define KUBE_LINE_MAX     ((size_t)8 << 20) /* bytes; what etcd keeps of an object is far less */
#define KUBE_VERSION_MAX  256               /* bytes of a resourceVersion */
#define KUBE_CONTINUE_MAX 4096              /* bytes that ask for the next page */

enum kube_event_kind {
    KUBE_PUT, /* ADDED, MODIFIED */
    KUBE_DELETE,
    KUBE_BOOKMARK,
    KUBE_ERROR,
};

struct kube_event {
    enum kube_event_kind kind;
    const struct json_t *object; /* ERROR: a Status */
    struct span version;         /* metadata.resourceVersion; empty with ERROR */
};

/* False: enough, the rest is not read. */
typedef bool kube_event_fn(void *ctx, const struct kube_event *event);

/* All zero: nothing was read. */
struct kube_stream {
    char *line; /* that has not ended yet */
    size_t len, room;
};

/* More bytes: calls fn for each event that is complete. False with wrong set: what follows cannot
 * be understood any more. */
bool kube_stream_feed(struct kube_stream *s, struct span bytes, kube_event_fn *fn, void *ctx,
                      struct json_wrong *wrong);

/* Frees what it has; it is as it was at first. */
void kube_stream_fini(struct kube_stream *s);

/* A page of a list: its slices are put. version: of the list; more: how to ask for the next page,
 * or empty. Both live as long as root. False with wrong set. */
bool kube_page_read(struct kube_slices *slices, const struct kube_want *want,
                    const struct json_t *root, struct span *version, struct span *more,
                    struct json_wrong *wrong);

#endif
