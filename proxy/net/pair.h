/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two transports in memory, both on one reactor: what is written at one end is read at
 * the other. For tests: nothing happens but in pair_step, so that every order of events can be
 * made, and made again. It behaves as TCP does: writing ahead up to a capacity; a half-close; an
 * RST instead of a FIN when bytes were left unread. Reactor's thread.
 */
#ifndef WEIR_NET_PAIR_H
#define WEIR_NET_PAIR_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/net/transport.h"

struct pair;

/* capacity: bytes that either direction holds before writing waits, at least 1. */
struct pair *pair_new(struct reactor *r, size_t capacity);

/* Both ends must have been closed and told so, or never taken. NULL is fine. */
void pair_free(struct pair *p);

/* End 0 or 1 with its owner, once each; it is connected. The conn of events may be attached now. */
struct transport *pair_end(struct pair *p, unsigned end, const struct transport_events *events,
                           void *owner);

/* From now on end reads at most n bytes at a time; 0: no bound. */
void pair_limit(struct pair *p, unsigned end, size_t n);

/* From now on so many bytes of end wait for its peer at most. */
void pair_capacity(struct pair *p, unsigned end, size_t capacity);

/* Bytes that end may still write before its peer reads. */
size_t pair_room(const struct pair *p, unsigned end);

/* Is end armed for reading? */
bool pair_reading(const struct pair *p, unsigned end);

/* What a dialled transport is told, in the next step: up (0), or a libuv error. */
void pair_connect(struct pair *p, unsigned end, int status);

/* Reading at end fails with a libuv error in the next step; bytes that wait for it are lost. */
void pair_fail_read(struct pair *p, unsigned end, int error);

/* Writing at end fails with a libuv error from now on; who waits to write is told in the next step.
 */
void pair_fail_write(struct pair *p, unsigned end, int error);

/* Tells each end at most one thing of each kind, then runs the reactor's dispatch. False: there was
 * nothing to tell. */
bool pair_step(struct pair *p);

/* Steps until there is nothing to tell. */
void pair_settle(struct pair *p);

#endif
