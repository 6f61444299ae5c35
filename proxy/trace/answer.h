/* SPDX-License-Identifier: Apache-2.0 */
/* What a collector's answer comes to (OTLP specification, "OTLP/HTTP Response"). Pure; any thread.
 */
#ifndef WEIR_TRACE_ANSWER_H
#define WEIR_TRACE_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/span.h"

/* To be sent again, later: 429, 502, 503, 504. */
bool otlp_retryable(unsigned status);

#define OTLP_MESSAGE 256

/* Of an ExportTraceServiceResponse in JSON: how many spans were not taken, and why, if it is said;
 * 0 and "" of what says nothing of that, whatever else it is. */
uint64_t otlp_rejected(struct span body, char message[OTLP_MESSAGE]);

#endif
