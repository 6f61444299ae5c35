/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the control thread that changes the configuration. Control thread. */
#ifndef WEIR_CONTROL_RELOAD_H
#define WEIR_CONTROL_RELOAD_H

#include "proxy/control_state.h"

/* The first generation, which the workers take before they run. 0 or a libuv error. */
int control_reload_first(struct control *c);

/* For admin_view.reload, of which ctx is the control. Soon: whoever asks may be in the middle of
 * something. What is read is read after this. */
uint64_t control_reload_ask(void *ctx, const struct canary_ask *canary);

/* Does what was asked for. Workers have made the last change. */
void control_reload(struct control *c);

/* Uses the endpoints that were found. Workers have made the last change, and nothing is on trial:
 * what was found meanwhile is used after that. */
void control_reload_found(struct control *c);

/* Workers may have made it now, or have left generations. */
void control_reload_told(struct control *c);

#endif
