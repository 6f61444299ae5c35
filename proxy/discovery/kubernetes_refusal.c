/* SPDX-License-Identifier: Apache-2.0 */
/* Refusals in words. Owns nothing; must never hand on a byte that is not printable. Pure. */
#include "proxy/discovery/kubernetes_refusal.h"

#include <inttypes.h>
#include <stdio.h>

/* Of a Status, which is what an API server says of errors; NULL is fine. */
static void message_of(const struct json_t *status, char out[256])
{
    struct json_wrong wrong = {0};
    struct span message = json_read_text(status, "message", "", &wrong);
    snprintf(out, 256, "%s%.*s", message.len > 0 ? ": " : "",
             (int)(message.len < 240 ? message.len : 240), message.ptr);
    for (char *c = out; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static void unknown(const struct kube_access *access, char *why)
{
    const char *file = access->token_file;
    snprintf(why, KUBE_WHY,
             "the API server does not know who weir is (401): the token%s%.200s is missing, has "
             "expired, or is another cluster's",
             file != NULL ? " of " : "", file != NULL ? file : "");
}

static void forbidden(const struct kube_access *access, bool watch, const char *message, char *why)
{
    snprintf(why, KUBE_WHY,
             "the API server forbids %s (403): weir's role in the namespace %.64s needs the rule "
             "{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}"
             "%s%.150s",
             watch ? "to watch" : "it", access->namespace,
             watch ? "; until then it lists them every half a minute or so" : "", message);
}

void kube_refusal(const struct kube_access *access, bool watch, unsigned status, struct span body,
                  char why[KUBE_WHY])
{
    char message[256], malformed[JSON_READ_WHY];
    struct json_t *root = json_read(body, malformed);
    message_of(root, message);
    json_read_free(root);
    switch (status) {
    case 401:
        unknown(access, why);
        break;
    case 403:
        forbidden(access, watch, message, why);
        break;
    case 404:
        snprintf(why, KUBE_WHY,
                 "the API server has no discovery.k8s.io/v1 (404): Kubernetes 1.21 or newer is "
                 "needed, and the URL has to be the API server's");
        break;
    default:
        snprintf(why, KUBE_WHY, "the API server answers %u%.250s%s", status, message,
                 status < 400 ? "; see whether the URL is the API server's" : "");
    }
}

void kube_refusal_event(const struct json_t *status, char why[KUBE_WHY])
{
    char message[256];
    struct json_wrong wrong = {0};
    message_of(status, message);
    snprintf(why, KUBE_WHY, "the API server ends the watch (%" PRId64 ")%.250s",
             json_read_number(status, "code", 0, &wrong),
             message[0] != '\0' ? message : ": it does not say why");
}
