/* SPDX-License-Identifier: Apache-2.0 */
/* What the flight recorder keeps of an exchange. Worker's thread. */
#ifndef WEIR_EXCHANGE_FLIGHT_H
#define WEIR_EXCHANGE_FLIGHT_H

#include "proxy/exchange_state.h"

/* Path and query as one text; out is used unless they stand side by side in the head. */
struct span exchange_path(const struct http_head *head, char *out, size_t size);

/* The endpoint of a leg; with the mark and its other address behind it, if it was there. out is
 * used in that case. */
#define EXCHANGE_LEG_TEXT (2 * NET_ADDR_TEXT)
struct span exchange_leg_text(const struct exchange *x, const struct flight_leg *leg,
                              const char *mark, char out[EXCHANGE_LEG_TEXT]);

/* How long it waited for its turn; without limits, for its last attempt. */
uint64_t exchange_queued_us(const struct exchange *x, uint64_t now);

/* When the endpoint took the stream's conn, before any handshake of TLS; 0: it has not. */
uint64_t exchange_reached_us(const struct stream *upstream);

/* Adds a leg for an attempt that ends for reason, or, with REASON_RETRY_BUDGET, a note of what else
 * was to be said at its endpoint. */
void exchange_leg(struct attempt *a, enum reason reason);

/* The exchange has ended, and its request's head is still there: it is recorded, if it is one to be
 * looked at later. */
void exchange_fly(const struct exchange *x, enum reason reason, uint64_t now);

#endif
