/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /registry of the admin listener: endpoints register themselves for pools that have a registry.
 *
 *   GET    /registry, /registry/POOL, /registry/POOL/ID
 *   PUT    /registry/POOL/ID   {"address": "10.0.0.1:8080", "weight": 2, "zone": "a", "ttl": "30s"}
 *   DELETE /registry/POOL/ID
 *
 * PUT with the same again, every third of the ttl or so, is the heartbeat. Control thread.
 */
#ifndef WEIR_ADMIN_REGISTRY_H
#define WEIR_ADMIN_REGISTRY_H

#include "proxy/admin_page.h"

/* Answers. False: later, once the body is there. */
bool admin_registry(const struct admin_ask *ask);

#endif
