/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading of requests: llhttp's callbacks, which only record, and what follows from a head: the
 * knobs and the handler. Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_REQUEST_H
#define WEIR_BACKENDS_REQUEST_H

#include "backends/conn.h"

/* Sets up the conn's parser, once. */
void request_init_parser(struct conn *c);

/* Parses some of the input; c->req.head_seen and end_seen say what came of it, c->bad is an error.
 */
void request_parse(struct conn *c);

/* Settles knobs and handler of a request whose head was read. */
void request_settle(struct conn *c);

/* Frees what the request owns and makes ready for the next. */
void request_reset(struct conn *c);

#endif
