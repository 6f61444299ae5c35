/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin's pages of reloads: /generations, and POST /reload, with ?canary=5%&for=30s&guard=...
 * for one that is tried first. Control thread.
 */
#ifndef WEIR_ADMIN_RELOAD_H
#define WEIR_ADMIN_RELOAD_H

#include "proxy/admin_page.h"

/* False: it waits in a list, and is answered by admin_reload_over. */
bool admin_reload(const struct admin_ask *ask, struct list_node *waiting);

/* All reloads up to that one are over; said: what there was to say of the last, lines, or NULL. */
void admin_reload_over(struct reactor *r, const struct admin_view *view, struct list_node *waiting,
                       uint64_t reload, bool done, const char *said);

void admin_generations(const struct admin_ask *ask);

#endif
