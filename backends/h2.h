/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn that speaks HTTP/2: any number of streams at once, each with an answer of its own. The
 * conn hands over what it reads and takes frames while there are any; what can't be sent yet stays
 * with its stream. Does no I/O. Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_H2_H
#define WEIR_BACKENDS_H2_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/span.h"

struct conn;
struct h2;

enum preface { PREFACE_NO, PREFACE_MAYBE, PREFACE_YES };

/* Whether these first bytes of a conn are HTTP/2's, or may become so. */
enum preface h2_preface(struct span bytes);

/* A session for a conn of which nothing was taken yet. NULL when out of memory. */
struct h2 *h2_new(struct conn *c);
void h2_free(struct h2 *h); /* NULL is fine */

/* Takes all of the conn's input. */
void h2_input(struct h2 *h);

/* True if h2_output() may have something to do. */
bool h2_ready(const struct h2 *h);

/* Appends a frame to the output, if there is one; ends the conn when the session is over. */
void h2_output(struct h2 *h);

/* True if streams wait for the clock; *ms is when the next of them goes on. */
bool h2_waits(const struct h2 *h, uint64_t *ms);

/* True if a stream is open. */
bool h2_busy(const struct h2 *h);

#endif
