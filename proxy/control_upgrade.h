/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the control thread that hands over to another process. Control thread. */
#ifndef WEIR_CONTROL_UPGRADE_H
#define WEIR_CONTROL_UPGRADE_H

#include <sys/types.h>

#include "proxy/control_state.h"

/* Starts the new process, unless there is something to wait for; then it is to be called again when
 * the control thread is told. Workers have made the last change, and weir serves or drains. */
void control_upgrade(struct control *c);

/* For upgrade_options.done, of which ctx is the control. */
void control_upgraded(void *ctx, pid_t successor);

#endif
