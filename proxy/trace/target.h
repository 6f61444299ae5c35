/* SPDX-License-Identifier: Apache-2.0 */
/* Where spans go: what was configured, frozen and counted. Control thread. */
#ifndef WEIR_TRACE_TARGET_H
#define WEIR_TRACE_TARGET_H

#include "proxy/upstream/fetch.h"

struct trace_target {
    uint32_t refs;
    struct fetch_url url;
    char *text; /* the URL as configured, for messages */
    char *ca;   /* a file; NULL: the system's */
    struct fetch_field *fields;
    size_t n_fields;
    char *service;     /* what this weir is called */
    unsigned batch;    /* spans of one request */
    uint64_t every_ms; /* how long they wait for others */
    uint32_t timeout_ms;
};

/* Empty, with one reference. Its maker fills it with memory of malloc's. Never NULL. */
struct trace_target *trace_target_new(size_t n_fields);

/* NULL is fine. Returns target. */
struct trace_target *trace_target_ref(struct trace_target *target);
/* The last one frees it. NULL is fine. */
void trace_target_unref(struct trace_target *target);

#endif
