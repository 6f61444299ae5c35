/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What there is to tell of a pool and its endpoints: which of them get requests, why the others do
 * not, and since when. The one place that tells it, for /pools, /explain and whatever shows them.
 * Takes time in proportion to the endpoints: not for a worker. Control thread.
 */
#ifndef WEIR_POOL_STATE_H
#define WEIR_POOL_STATE_H

#include "balancer/look.h"
#include "balancer/state.h"
#include "proxy/base/json.h"
#include "proxy/discovery/discovery.h"
#include "proxy/upstream/pool.h"

#define ENDPOINT_NAME  (NET_ADDR_TEXT + 12) /* an address, and a number if it is there twice */
#define EXCLUSION_TEXT 256

/* As of one moment. */
struct pool_state {
    const struct pool_spec *pool;
    const struct discovery_status *source; /* the owner may set it: where they come from */
    uint64_t now_us;
    struct lb_shares shares;
    struct lb_state *states; /* by endpoint */
};

void pool_state_init(struct pool_state *state, const struct pool_spec *pool, uint64_t now_us);
void pool_state_fini(struct pool_state *state);

/* As /metrics names it: its address, and its number if it is there more than once. Returns out, or
 * what lives as long as ep. */
const char *endpoint_name(const struct endpoint_spec *ep, char out[ENDPOINT_NAME]);

/* Why an endpoint gets no new requests; look: or NULL, what a worker makes of the pool. */
enum lb_exclusion pool_state_excluded(const struct pool_state *state, uint32_t i,
                                      const struct lb_look *look);

/* The same as a sentence: "its health checks fail, for 12.3 s". Returns text, which is empty if it
 * gets some. */
const char *pool_state_why(const struct pool_state *state, uint32_t i, const struct lb_look *look,
                           char text[EXCLUSION_TEXT]);

/* An endpoint, or the pool with all of them, as a value of JSON. look: or NULL, as above: then with
 * each endpoint's weight and score there. */
void pool_state_write_endpoint(struct json *j, const struct pool_state *state, uint32_t i,
                               const struct lb_look *look);
void pool_state_write(struct json *j, const struct pool_state *state, const struct lb_look *look);

#endif
