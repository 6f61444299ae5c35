/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets of a configuration, before control.c has them, and how many there may be. Control
 * thread. */
#ifndef WEIR_RUNTIME_SOCKETS_H
#define WEIR_RUNTIME_SOCKETS_H

#include "proxy/runtime_state.h"

struct listener_spec;

/* As many conns and pipes as the limit of open files allows; says so if that is another number than
 * before. */
void runtime_fit_descriptors(struct runtime *rt);

/* Opens what no snapshot before has. False: added to errs, and what was opened is in sockets. */
bool runtime_open_listeners(struct runtime *rt);

/* As many as there would be, all -1. */
void runtime_no_sockets(struct runtime *rt);
void runtime_close_sockets(struct runtime *rt);

/* The listener of the snapshot before whose socket that one has; NULL: none. */
const struct listener_spec *runtime_listened(const struct runtime *rt,
                                             const struct listener_spec *spec);

/* With its token and its TLS. False: added to errs. */
bool runtime_open_admin(struct runtime *rt);

/* Of Unix sockets that were taken over, which may have been made with another; and of one that
 * stays open, though it was to have another. */
void runtime_set_modes(const struct snapshot *snap);
void runtime_change_mode(const struct listener_spec *spec, const struct listener_spec *was);

/* Removes those of Unix sockets that nobody listens on any more; next: NULL, or who listens now. */
void runtime_remove_paths(const struct snapshot *snap, const struct snapshot *next);

#endif
