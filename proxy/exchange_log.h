/* SPDX-License-Identifier: Apache-2.0 */
/* What an exchange tells: its trail, its counters and its line in the access log. */
#ifndef WEIR_EXCHANGE_LOG_H
#define WEIR_EXCHANGE_LOG_H

#include "proxy/exchange_state.h"

/* Notes why an attempt failed, or what else was of note at its endpoint. */
void exchange_trail(struct attempt *a, enum reason reason);

/* Counts the exchange and writes its line in the access log. */
void exchange_tell(struct exchange *x, enum reason reason);

#endif
