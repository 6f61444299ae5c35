/* SPDX-License-Identifier: Apache-2.0 */
/* What one health check asks on its stream, and what it makes of the answer. Reactor's thread. */
#ifndef WEIR_UPSTREAM_HEALTH_ASK_H
#define WEIR_UPSTREAM_HEALTH_ASK_H

#include "proxy/http/stream.h"
#include "proxy/upstream/health.h"

/* What has come of an answer; all zero before. */
struct health_answer {
    uint16_t status;
    bool grpc_ok;      /* grpc-status was 0 */
    struct chain body; /* as much of it as is looked at */
};

/* Sends the whole request. host: if the spec has none. */
void health_ask(struct stream *s, struct reactor *r, const struct health_spec *spec,
                struct span host);

/* The events of the stream; the body gets its credit. */
void health_answer_head(struct health_answer *a, const struct http_head *head);
void health_answer_body(struct health_answer *a, const struct health_spec *spec, struct stream *s,
                        struct chain *body);

/* The answer is complete; trailers may be NULL. REASON_NONE: it is as it should be; else why it is
 * not. */
unsigned health_answer_end(struct health_answer *a, const struct health_spec *spec,
                           const struct http_head *trailers);

/* Lets go of what is kept. */
void health_answer_clear(struct health_answer *a);

#endif
