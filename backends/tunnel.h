/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows a 101: an echo of bytes, or of WebSocket messages. Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_TUNNEL_H
#define WEIR_BACKENDS_TUNNEL_H

#include "backends/conn.h"

/* Echoes some of the input, up to FEED_MAX bytes. */
void tunnel_step(struct conn *c);

#endif
