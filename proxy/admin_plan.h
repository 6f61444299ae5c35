/* SPDX-License-Identifier: Apache-2.0 */
/* The admin's page POST /plan: what a reload of the file that is its body would change. Control
 * thread. */
#ifndef WEIR_ADMIN_PLAN_H
#define WEIR_ADMIN_PLAN_H

#include "proxy/admin_page.h"

/* False: the body has yet to come. ?file= is what messages call it; as=text or json. */
bool admin_plan(const struct admin_ask *ask);

#endif
