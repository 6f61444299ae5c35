/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange joins a client's stream to the attempts at answering it: route, pick, forward both
 * ways with backpressure, retry, author an answer when there is none, and tell what happened.
 *
 *   exchange -> attempt (lease, upstream stream), replay chain      exchange ~> client stream
 *
 * Worker's thread.
 */
#ifndef WEIR_EXCHANGE_H
#define WEIR_EXCHANGE_H

#include "proxy/http/stream.h"

/* The service of a worker's client conns; ctx is the worker. */
extern const struct http_service exchange_service;

#endif
