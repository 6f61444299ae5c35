/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /status: what the dashboard shows that no other page has, as one JSON object: the process,
 * its listeners, routes with their counters, errors by reason, certificates. Counters are totals
 * since the start; rates are for whoever reads twice. Control thread.
 */
#ifndef WEIR_ADMIN_STATUS_H
#define WEIR_ADMIN_STATUS_H

#include "proxy/admin_page.h"

/* Answers a request for it. */
void admin_status(const struct admin_ask *ask);

#endif
