/* SPDX-License-Identifier: Apache-2.0 */
/* What an exchange tells: its counters, its line in the access log, its flight record. */
#ifndef WEIR_EXCHANGE_LOG_H
#define WEIR_EXCHANGE_LOG_H

#include "proxy/exchange_state.h"

/* Counts the exchange, writes its line in the access log, and has it recorded. */
void exchange_tell(struct exchange *x, enum reason reason);

#endif
