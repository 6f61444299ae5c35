/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How weir reaches an API server of Kubernetes: from within a pod by what every pod is given, from
 * elsewhere by a kubeconfig. Reads files and the environment. Control thread.
 */
#ifndef WEIR_DISCOVERY_KUBERNETES_ACCESS_H
#define WEIR_DISCOVERY_KUBERNETES_ACCESS_H

#include <stdbool.h>

#include "proxy/discovery/source.h"
#include "proxy/upstream/fetch.h"

#define KUBE_WHY 512

/* All zero: nothing was read. */
struct kube_access {
    struct config_mem *mem; /* of all texts */
    struct fetch_url url;
    struct fetch_tls tls;
    const char *token_file; /* or NULL */
    const char *token;      /* if there is no file; or NULL: none is needed */
    const char *namespace;  /* that the Service is in */
    const char *files[6];   /* that were read, but for the token; NULL behind them */
    uint64_t state;         /* kube_access_state before they were read */
};

/* False with why set, one line. To be freed in any case. */
bool kube_access_read(struct kube_access *a, const struct source_kubernetes *from,
                      char why[KUBE_WHY]);
void kube_access_free(struct kube_access *a);

/* A number that is another one once one of its files has changed. */
uint64_t kube_access_state(const struct kube_access *a);

/* "Bearer ...", malloc'd, read anew: it may be another one any minute. NULL with why "": none is
 * needed; or with why set. */
char *kube_access_bearer(const struct kube_access *a, char why[KUBE_WHY]);

/* The files that it reads or may read, for the sandbox. */
void kube_access_files(const struct config_kubernetes *from,
                       void (*fn)(void *ctx, const char *path), void *ctx);

#endif
