/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /drain of the admin listener: the process is to be taken out of service before it is told to end,
 * by a preStop hook say. Control thread.
 */
#ifndef WEIR_ADMIN_DRAIN_H
#define WEIR_ADMIN_DRAIN_H

#include "proxy/admin_page.h"

/* Answers a request for /drain: GET tells how far it is, POST begins it. */
void admin_drain(const struct admin_ask *ask);

#endif
