/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Active health checks: asks the endpoints of pools whether they are well, each in its turn, and
 * tells the balancer (lb_group_mark). A check has a conn of its own, over what the pool's conns go
 * through too: TLS, a PROXY header, HTTP/1 or HTTP/2.
 *
 *   health -> pools -> checks      check ~> stream of the pool's view that is only for checks
 *
 * Runs on one reactor, which is no worker's: the control thread's.
 */
#ifndef WEIR_UPSTREAM_HEALTH_H
#define WEIR_UPSTREAM_HEALTH_H

#include "balancer/health.h"
#include "proxy/base/reason.h"
#include "proxy/upstream/pool.h"

#define HEALTH_AT_ONCE    256   /* checks that run at the same time; others wait for their turn */
#define HEALTH_BODY_BYTES 65536 /* of a response, in which a text is looked for */

enum health_kind {
    HEALTH_TCP,  /* a conn comes up, and its TLS if there is */
    HEALTH_HTTP, /* an answer has the right status, and perhaps text */
    HEALTH_GRPC, /* grpc.health.v1.Health/Check says SERVING */
};

struct health_status {
    uint16_t from, to;
};

struct health_field {
    struct span name, value;
};

/* Texts and arrays are owned. */
struct health_spec {
    uint8_t kind;   /* enum health_kind */
    bool must_pass; /* an endpoint gets no requests before a check has passed */
    bool plain;     /* without the pool's TLS */
    struct lb_health_rules rules;
    uint32_t timeout_ms; /* for all of a check */
    struct span method, target;
    struct span host; /* empty: the endpoint's address */
    struct health_field *fields;
    struct health_status *statuses;
    uint32_t n_fields, n_statuses;
    struct span body;    /* that has to be in the response; empty: any */
    struct span service; /* of gRPC; empty: the server as a whole */
    /* Where checks go, one for each of the pool's; NULL: where requests go. */
    struct endpoint_spec *endpoints;
};

/* With all it owns. NULL is fine. */
void health_spec_free(struct health_spec *spec);

/* Why a check failed: a reason, or one of these. */
enum health_why {
    HEALTH_TIMEOUT = REASON_COUNT,
    HEALTH_BAD_STATUS,
    HEALTH_BAD_BODY,
    HEALTH_NOT_SERVING,
    HEALTH_WHY_COUNT
};

/* For metrics; static. */
const char *health_why_name(unsigned why);

struct health;

/* Checks of no pool yet. They begin with health_start. seed: any. */
struct health *health_new(struct reactor *r, uint64_t seed);
void health_start(struct health *health);

/* Checks those of pools[0..n) that have a spec, and no others. What is checked already goes on;
 * what a pool of that name knew of an endpoint goes over to the one that follows it, or is tried
 * beside it, and an endpoint that was added to it must pass once. Of what is left behind conns may
 * still close: its specs are needed until health_settled. Not after health_close. */
void health_use(struct health *health, struct pool_spec *const *pools, size_t n);

/* Whether nothing is left of pools that are not checked any more. changed: told when that may have
 * become true, from within a callback. */
bool health_settled(struct health *health);
void health_on_settled(struct health *health, void (*changed)(void *ctx), void *ctx);

/* Where a pool's checks get their conns, if those are made over TLS: pool_secure has to be called
 * for it, before health_start. NULL: they are not. */
struct pool_view *health_tls_view(const struct health *health, size_t pool);

/* Ends what runs, and begins no more. Idempotent; NULL is fine. */
void health_close(struct health *health);

/* After health_close and some turns of the reactor, when all its conns are gone. NULL is fine. */
void health_free(struct health *health);

/* What became of a pool's checks. */
struct health_counts {
    uint64_t passed;
    uint64_t skipped; /* weir had no descriptor or memory for them */
    uint64_t failed[HEALTH_WHY_COUNT];
};

/* pool: its index. NULL: it has no checks. Valid as long as health. */
const struct health_counts *health_counts(const struct health *health, size_t pool);

/* The state of one of the endpoints of a pool that has checks. */
const struct lb_health *health_of(const struct health *health, size_t pool, uint32_t endpoint);

#endif
