/* SPDX-License-Identifier: Apache-2.0 */
/* From what a configuration says of traces to what makes and sends them. Control thread. */
#ifndef WEIR_RUNTIME_TRACE_H
#define WEIR_RUNTIME_TRACE_H

#include "proxy/snapshot.h"

struct config;
struct config_errors;

/* Sets what snap has of traces. False: added to errs. */
bool runtime_trace(const struct config *cfg, struct snapshot *snap, struct config_errors *errs);

#endif
