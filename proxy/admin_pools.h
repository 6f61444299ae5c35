/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin's pages below /pools: what there is to say of pools and their endpoints, as JSON, and
 * what an operator may do to an endpoint:
 *
 *   GET  /pools, /pools/NAME, /pools/NAME/endpoints/ADDRESS
 *   POST /pools/NAME/endpoints/ADDRESS/drain, .../undrain, .../weight/N
 *
 * An address is one as /metrics names it, percent-encoded where a path needs that. A POST answers
 * with what the endpoint is now, and may be repeated. It has to show that no other site's page
 * sends it (admin_guard.h).
 */
#ifndef WEIR_ADMIN_POOLS_H
#define WEIR_ADMIN_POOLS_H

#include "proxy/admin_page.h"

/* Answers a request for one. Control thread. */
void admin_pools(const struct admin_ask *ask);

#endif
