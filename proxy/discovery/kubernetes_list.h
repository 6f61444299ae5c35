/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of a Service's EndpointSlices, page by page, as an API server of Kubernetes says it. All
 * of it or nothing comes of that. Control thread.
 */
#ifndef WEIR_DISCOVERY_KUBERNETES_LIST_H
#define WEIR_DISCOVERY_KUBERNETES_LIST_H

#include "proxy/discovery/kubernetes_reach.h"
#include "proxy/discovery/kubernetes_stream.h"

/* Of a page, at most. */
#define KUBE_PAGE_MS    60000
#define KUBE_PAGE_BYTES ((size_t)16 << 20)

/* What came of it; valid during the call. */
struct kube_listed {
    const char *why;           /* why it failed, one line; NULL: it was answered */
    bool malformed;            /* ... by what was no list */
    unsigned status;           /* of the answer: 200, or what refused it, with body */
    struct span body;          /* any bytes */
    uint32_t retry_after_ms;   /* 0: none was said */
    struct kube_slices slices; /* with 200: whoever takes them leaves none */
    const char *version;       /* ... to watch from */
};

/* Called from the loop, once, unless it is ended before. */
typedef void kube_listed_fn(void *ctx, struct kube_listed *listed);

/* All zero: none is on its way. */
struct kube_list {
    const struct kube_reach *reach;
    const struct kube_want *want;
    kube_listed_fn *fn;
    void *ctx;
    struct fetch *fetch;
    struct kube_slices slices; /* so far */
    char *more;                /* how to ask for the rest; or NULL */
    unsigned pages;
    size_t bytes;
};

/* Begins with the first page. reach and want have to be as they are until it is over. False with
 * why set: it cannot be asked. */
bool kube_list_begin(struct kube_list *list, const struct kube_reach *reach,
                     const struct kube_want *want, kube_listed_fn *fn, void *ctx,
                     char why[KUBE_WHY]);

static inline bool kube_list_runs(const struct kube_list *list)
{
    return list->fetch != NULL;
}

/* fn is not called any more. Fine if none is on its way. */
void kube_list_end(struct kube_list *list);

#endif
