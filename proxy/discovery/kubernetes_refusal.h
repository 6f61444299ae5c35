/* SPDX-License-Identifier: Apache-2.0 */
/* What an API server of Kubernetes means that refuses a request: one line that says what to do.
 * Pure; any thread. */
#ifndef WEIR_DISCOVERY_KUBERNETES_REFUSAL_H
#define WEIR_DISCOVERY_KUBERNETES_REFUSAL_H

#include "proxy/base/json_read.h"
#include "proxy/discovery/kubernetes_access.h"

/* What the server's answer was: its status, which is no success, and its body, any bytes. watch: to
 * a watch, else to a list. */
void kube_refusal(const struct kube_access *access, bool watch, unsigned status, struct span body,
                  char why[KUBE_WHY]);

/* The Status of an event by which a watch ends. */
void kube_refusal_event(const struct json_t *status, char why[KUBE_WHY]);

#endif
