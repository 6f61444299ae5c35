/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An API server of Kubernetes with what it takes to ask it: what the files say
 * (kubernetes_access.h), a client with the TLS that they ask for, and requests for the
 * EndpointSlices of one Service, each with the token as it is in its file at that moment. Control
 * thread.
 */
#ifndef WEIR_DISCOVERY_KUBERNETES_REACH_H
#define WEIR_DISCOVERY_KUBERNETES_REACH_H

#include "proxy/discovery/kubernetes_access.h"

/* All zero: closed. */
struct kube_reach {
    const char *service; /* the source's */
    struct kube_access access;
    struct fetch_client *client;
};

/* Reads the files. False with why set, one line: it stays closed. */
bool kube_reach_open(struct kube_reach *reach, struct reactor *r, const struct source_spec *spec,
                     char why[KUBE_WHY]);

/* Whether it is open, and the files are still those that were read. */
bool kube_reach_current(const struct kube_reach *reach);

/* Cancels all that is on its way. Fine if it is closed. */
void kube_reach_close(struct kube_reach *reach);

/* A request, to be freed. */
struct kube_ask {
    char *bearer, *target;
    struct fetch_field fields[2];
    struct fetch_request request; /* as fetch_begin takes it; its times are to be set */
};

/* before, after, escaped: parts of the query, around the selector; the last is escaped here. False
 * with why set: the token cannot be read, and there is nothing to free. */
bool kube_ask_make(struct kube_ask *ask, const struct kube_reach *reach, const char *before,
                   const char *after, const char *escaped, char why[KUBE_WHY]);
void kube_ask_free(struct kube_ask *ask);

#endif
