/* SPDX-License-Identifier: Apache-2.0 */
/* An exchange as a part of a trace. Worker's thread. */
#ifndef WEIR_EXCHANGE_TRACE_H
#define WEIR_EXCHANGE_TRACE_H

#include "proxy/exchange_state.h"

/* It gets its place in a trace: its client's, or one that begins here; its head stays as it is. */
void exchange_trace(struct exchange *x);

/* Of one that is recorded, whose head the attempt is about to send: that has the attempt's span. */
void exchange_trace_attempt(struct attempt *a);

/* The attempt's span, or, if it has sent nothing, a new one. */
uint64_t exchange_trace_span(const struct attempt *a);

/* One that was recorded has ended. */
void exchange_trace_tell(const struct exchange *x, const struct flight *f);

#endif
