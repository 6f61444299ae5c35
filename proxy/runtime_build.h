/* SPDX-License-Identifier: Apache-2.0 */
/* From a checked configuration to a snapshot. For runtime.c; control thread. */
#ifndef WEIR_RUNTIME_BUILD_H
#define WEIR_RUNTIME_BUILD_H

#include "proxy/snapshot.h"

struct config;
struct config_addr;
struct config_errors;
struct discovery;

/* The snapshot, which has all listeners and pools of the one before (or NULL) for which nothing is
 * different. NULL: added to errs, with the position in the file. */
struct snapshot *runtime_build(const struct config *cfg, unsigned n_workers,
                               const struct snapshot *before, struct config_errors *errs);

/* The snapshot with the endpoints that have been found since; all else is what `before` has, which
 * was made of cfg too. NULL: nothing is different, or, added to errs, it cannot be. */
struct snapshot *runtime_rebuild(const struct config *cfg, unsigned n_workers,
                                 const struct snapshot *before, const struct discovery *found,
                                 struct config_errors *errs);

/* What a configured address comes to; it may ask the resolver. False: added to errs. */
bool runtime_resolve(const struct config_addr *from, struct net_addr *to,
                     struct config_errors *errs);

#endif
