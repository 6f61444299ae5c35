/* SPDX-License-Identifier: Apache-2.0 */
/* What a flight record comes to, for people: why it went as it did, who ended it, what to do. Pure;
 * any thread. */
#ifndef WEIR_FLIGHT_CAUSE_H
#define WEIR_FLIGHT_CAUSE_H

#include <stddef.h>

#include "proxy/flight.h"

#define FLIGHT_CAUSE_TEXT 512

/* What to do about a reason: a sentence or two; "" for those that need nothing. */
const char *flight_reason_advice(enum reason reason);

/* Who ended what ended for reason: "client", "endpoint", "weir", or "nobody", when it came to its
 * end. */
const char *flight_ended_by(enum reason reason);

/* Why, in a sentence without a full stop; returns out. */
const char *flight_cause(const struct flight *f, char out[FLIGHT_CAUSE_TEXT]);

/* What to do about it. */
const char *flight_advice(const struct flight *f);

#endif
