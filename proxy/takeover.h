/* SPDX-License-Identifier: Apache-2.0 */
/* The new side of an upgrade (upgrade.h). Control thread, before there are others. */
#ifndef WEIR_TAKEOVER_H
#define WEIR_TAKEOVER_H

#include <stdbool.h>

#include "proxy/net/tls_ctx.h"

/* Receives what another weir gives over, if one has started this process: its sockets go to
 * net/passed.h. False: that failed, which is in the log; there is nothing to serve. */
bool takeover_receive(void);

/* Which upgrade since the first start this process came by; 0: by none. */
unsigned takeover_count(void);

/* Has another weir, which serves still, yet to be told that this one is ready? */
bool takeover_is_due(void);

/* The keys that the listener of that name had, new ones of the caller's; NULL: it had none. */
struct tls_tickets *takeover_tickets(const char *name);

/* Every worker listens: tells the weir before, which then lets go, and what was not taken over. */
void takeover_ready(void);

#endif
