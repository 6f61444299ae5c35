/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a pool whose endpoints are a Service's. Constant data; any thread. */
#include <stdlib.h>
#include <string.h>

#include "config/bind.h"
#include "config/rows.h"

#define LABEL_MAX     63
#define PORT_MAX      15
#define LABEL_PATTERN "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

/* What RFC 1123 allows, in lower case, as Kubernetes does. */
static bool is_label(const char *text, size_t most)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        bool word = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9');
        if (!word && (text[i] != '-' || i == 0 || i == len - 1))
            return false;
    }
    return len > 0 && len <= most;
}

bool config_kubernetes_name_ok(const char *name)
{
    return is_label(name, LABEL_MAX);
}

static bool accept_label(struct bind *b, const struct tree_node *node, const char **text)
{
    if (config_kubernetes_name_ok(*text))
        return true;
    bind_error(b, node->pos,
               "%s is not a name as Kubernetes has them: up to 63 of a-z, 0-9 and -, such as shop",
               bind_quote(b, *text));
    return false;
}

static bool accept_port(struct bind *b, const struct tree_node *node, const char **text)
{
    bool number = strspn(*text, "0123456789") == strlen(*text);
    unsigned long value = number ? strtoul(*text, NULL, 10) : 0;
    if (number ? value > 0 && value <= UINT16_MAX && strlen(*text) <= 5 : is_label(*text, PORT_MAX))
        return true;
    bind_error(b, node->pos, "%s is neither the name of a port, such as http, nor its number",
               bind_quote(b, *text));
    return false;
}

static const struct schema_row kubernetes_rows[] = {
    {STRING("service", config_kubernetes, service), .flags = ROW_REQUIRED, .accept = accept_label,
     .pattern = LABEL_PATTERN, .expected = "the name of a Service such as shop",
     .doc = "The Service."},
    {STRING("namespace", config_kubernetes, namespace), .accept = accept_label,
     .pattern = LABEL_PATTERN, .expected = "the name of a namespace such as default",
     .doc = "Where it is; if not given, where weir's pod is, or what kubeconfig says."},
    {STRING("port", config_kubernetes, port), .accept = accept_port, .pattern = "^[a-z0-9-]{1,15}$",
     .expected = "a port's name such as http, or its number in quotes",
     .doc = "The port of its pods, by the name that it has in the Service, or by its number; not "
            "needed if there is only one."},
    {FILENAME("kubeconfig", config_kubernetes, kubeconfig),
     .doc = "How to reach the API server from outside of the cluster, as kubectl has it; weir "
            "runs in a pod if not given."},
    {FILENAME("credentials", config_kubernetes, credentials),
     .dflt = "/var/run/secrets/kubernetes.io/serviceaccount",
     .doc = "The folder of token, ca.crt and namespace in a pod."},
};

const struct schema_table schema_kubernetes = {
    .expected = "a mapping such as { service: shop, port: http }",
    ROWS(kubernetes_rows),
    .short_key = "service",
    .own = true,
};
