/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin's pages of the flight recorder:
 *
 *   GET /requests      what is kept, the newest first, as JSON. ?pool=, ?reason=, ?status= (502 or
 *                      5xx) and ?kind= choose; ?limit= is 100 unless it says otherwise
 *   GET /requests/ID   one with its timeline; as text for people with ?as=text
 */
#ifndef WEIR_ADMIN_REQUESTS_H
#define WEIR_ADMIN_REQUESTS_H

#include "proxy/admin_page.h"

/* Control thread. */
void admin_requests(const struct admin_ask *ask);

#endif
