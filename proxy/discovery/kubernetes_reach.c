/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reaching an API server. Owns what was read and the client; must never keep a token. Control
 * thread.
 */
#include "proxy/discovery/kubernetes_reach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

/* ---- life ---- */

static bool secure(struct kube_reach *reach, char why[KUBE_WHY])
{
    char *error = NULL;
    if (!reach->access.url.tls || fetch_client_secure(reach->client, &reach->access.tls, &error))
        return true;
    snprintf(why, KUBE_WHY, "%.500s", error);
    free(error);
    return false;
}

bool kube_reach_open(struct kube_reach *reach, struct reactor *r, const struct source_spec *spec,
                     char why[KUBE_WHY])
{
    *reach = (struct kube_reach){.service = spec->name};
    bool ok = kube_access_read(&reach->access, &spec->kubernetes, why);
    if (ok) {
        reach->client = fetch_client_new(r, &reach->access.url);
        ok = secure(reach, why);
    }
    if (!ok)
        kube_reach_close(reach);
    return ok;
}

bool kube_reach_current(const struct kube_reach *reach)
{
    return reach->client != NULL && kube_access_state(&reach->access) == reach->access.state;
}

void kube_reach_close(struct kube_reach *reach)
{
    fetch_client_end(reach->client);
    kube_access_free(&reach->access);
    *reach = (struct kube_reach){0};
}

/* ---- requests ---- */

static void put_escaped(char *at, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = digits[c >> 4];
        *at++ = digits[c & 15];
    }
    *at = '\0';
}

/* malloc'd. */
static char *target_of(const struct kube_reach *reach, const char *before, const char *after,
                       const char *escaped)
{
    const char *namespace = reach->access.namespace;
    size_t size = 256 + strlen(namespace) + strlen(reach->service) + strlen(before) +
                  strlen(after) + 3 * strlen(escaped);
    char *target = mem_need(malloc(size));
    int n = snprintf(target, size,
                     "/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices?%slabelSelector="
                     "kubernetes.io%%2Fservice-name%%3D%s%s",
                     namespace, before, reach->service, after);
    put_escaped(target + n, escaped);
    return target;
}

bool kube_ask_make(struct kube_ask *ask, const struct kube_reach *reach, const char *before,
                   const char *after, const char *escaped, char why[KUBE_WHY])
{
    *ask = (struct kube_ask){.bearer = kube_access_bearer(&reach->access, why)};
    if (why[0] != '\0')
        return false;
    ask->target = target_of(reach, before, after, escaped);
    ask->fields[0] = (struct fetch_field){SPAN_LIT("Accept"), SPAN_LIT("application/json")};
    ask->fields[1] = (struct fetch_field){SPAN_LIT("Authorization"), span_str(ask->bearer)};
    ask->request = (struct fetch_request){.method = SPAN_LIT("GET"),
                                          .target = span_str(ask->target),
                                          .fields = ask->fields,
                                          .n_fields = ask->bearer != NULL ? 2 : 1};
    return true;
}

void kube_ask_free(struct kube_ask *ask)
{
    free(ask->bearer);
    free(ask->target);
}
