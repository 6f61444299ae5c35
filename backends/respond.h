/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answering: what to say to a request, and saying it bit by bit, faults included. Output goes to
 * the worker's output; nothing here reads, writes or closes. Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_RESPOND_H
#define WEIR_BACKENDS_RESPOND_H

#include "backends/conn.h"

/* The head of the request was read. */
void respond_on_head(struct conn *c);

/* The request has ended. */
void respond_on_end(struct conn *c);

/* Content of a request whose body streams back. At most FEED_MAX bytes between two flushes. */
void respond_stream(struct conn *c, const char *ptr, size_t len);

#define FEED_MAX (32u << 10)

/* Part of a trailer field of a request whose body streams back. */
void respond_trailer(struct conn *c, const char *ptr, size_t len);

/* True if the response itself can go on: it waits for neither its timer nor the request. */
bool respond_ready(const struct conn *c);

/* One step of a response that is ready. */
void respond_step(struct conn *c);

/* Answers with an error and closes: for what can't be parsed. */
void respond_error(struct conn *c, unsigned status, const char *text);

/* Frees what the response owns. */
void respond_reset(struct conn *c);

#endif
