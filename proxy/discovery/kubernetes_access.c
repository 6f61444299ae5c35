/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads what a pod is given, and kubeconfigs. Owns an arena with all that was read; must never run
 * a program that a kubeconfig names. Control thread.
 */
#include "proxy/discovery/kubernetes_access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/mem.h"
#include "config/tree.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/watch/file_state.h"

#define FILE_MAX ((size_t)1 << 20)

/* ---- files ---- */

/* The whole of a regular file, NUL behind it. NULL with why set, by what it is read as. */
static char *read_file(struct config_mem *mem, const char *path, const char *what, size_t *len,
                       char *why)
{
    char *bytes = config_mem_alloc(mem, 1, FILE_MAX + 2);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : 1;
    for (*len = 0; n > 0 && *len <= FILE_MAX; *len += n > 0 ? (size_t)n : 0)
        n = read(fd, bytes + *len, FILE_MAX + 1 - *len);
    if (n < 0)
        snprintf(why, KUBE_WHY, "%.300s: the %s cannot be read: %s", path, what, strerror(errno));
    else if (*len > FILE_MAX)
        snprintf(why, KUBE_WHY, "%.300s: the %s is larger than %zu bytes", path, what, FILE_MAX);
    if (fd >= 0)
        close(fd);
    return n < 0 || *len > FILE_MAX ? NULL : bytes;
}

/* Without the white space around it. */
static char *read_word(struct config_mem *mem, const char *path, const char *what, char *why)
{
    static const char white[] = " \t\r\n";
    size_t len;
    char *bytes = read_file(mem, path, what, &len, why);
    if (bytes == NULL)
        return NULL;
    bytes += strspn(bytes, white);
    len = strlen(bytes);
    while (len > 0 && strchr(white, bytes[len - 1]) != NULL)
        bytes[--len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            len = 0;
    if (len == 0)
        snprintf(why, KUBE_WHY, "%.300s: the %s is empty, or not one word", path, what);
    return len > 0 ? bytes : NULL;
}

static void note_file(struct kube_access *a, const char *path)
{
    size_t n = 0;
    while (a->files[n] != NULL)
        n++;
    CHECK(n < ARRAY_LEN(a->files) - 1);
    a->files[n] = path;
    a->state = file_state_mix(a->state, file_state(path));
}

uint64_t kube_access_state(const struct kube_access *a)
{
    uint64_t states = 0;
    for (size_t i = 0; a->files[i] != NULL; i++)
        states = file_state_mix(states, file_state(a->files[i]));
    return states;
}

/* Of what the namespace was read from; it is part of every URL. */
static bool check_namespace(const struct kube_access *a, const char *where, char *why)
{
    if (a->namespace == NULL || config_kubernetes_name_ok(a->namespace))
        return true;
    snprintf(why, KUBE_WHY,
             "%.200s: the namespace \"%.63s\" is not a name as Kubernetes has them: up to 63 of "
             "a-z, 0-9 and -; a namespace in the pool goes before it",
             where, a->namespace);
    return false;
}

/* ---- in a pod ---- */

static bool read_url(struct kube_access *a, const char *text, char *why)
{
    const char *what;
    if (fetch_url_parse(&a->url, text, &what))
        return true;
    snprintf(why, KUBE_WHY, "the API server's URL \"%.200s\" is none: %s", text, what);
    return false;
}

/* Else the CA, which is asked for before it, would not be there either. */
static bool has_token(const struct kube_access *a, char *why)
{
    if (access(a->token_file, F_OK) == 0 || errno != ENOENT)
        return true;
    snprintf(why, KUBE_WHY,
             "%.300s: the pod has been given no token; remove automountServiceAccountToken: false "
             "from it, or from its service account",
             a->token_file);
    return false;
}

static bool read_pod(struct kube_access *a, const char *folder, char *why)
{
    const char *namespace = config_mem_printf(a->mem, "%s/namespace", folder);
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    char ignored[KUBE_WHY];
    if (host == NULL || host[0] == '\0' || port == NULL || port[0] == '\0') {
        snprintf(why, KUBE_WHY,
                 "this is no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; "
                 "outside of a cluster the key kubeconfig is needed");
        return false;
    }
    const char *format = strchr(host, ':') != NULL ? "https://[%s]:%s" : "https://%s:%s";
    a->token_file = config_mem_printf(a->mem, "%s/token", folder);
    if (!read_url(a, config_mem_printf(a->mem, format, host, port), why) || !has_token(a, why))
        return false;
    a->tls.ca_file = config_mem_printf(a->mem, "%s/ca.crt", folder);
    note_file(a, a->tls.ca_file);
    if (a->namespace == NULL)
        a->namespace = read_word(a->mem, namespace, "namespace", ignored);
    return check_namespace(a, namespace, why);
}

/* ---- a kubeconfig ---- */

static const char *text_of(const struct tree_node *map, const char *key)
{
    const struct tree_node *value = tree_get(map, key);
    bool given = value != NULL && value->kind == TREE_SCALAR && value->text[0] != '\0';
    return given && tree_looks(value) != TREE_LOOKS_NULL ? value->text : NULL;
}

/* The one of a list whose name it is: its mapping under `what`. NULL with why set. */
static const struct tree_node *named(const struct tree_node *root, const char *list,
                                     const char *what, const char *name, char *why)
{
    const struct tree_node *items = tree_get(root, list);
    size_t n = items != NULL && items->kind == TREE_LIST ? items->count : 0;
    for (size_t i = 0; name != NULL && i < n; i++) {
        const char *its = text_of(items->items[i], "name");
        const struct tree_node *found = tree_get(items->items[i], what);
        if (its != NULL && strcmp(its, name) == 0 && found != NULL)
            return found;
    }
    if (name == NULL)
        snprintf(why, KUBE_WHY, "the kubeconfig does not say which %s", what);
    else
        snprintf(why, KUBE_WHY, "the kubeconfig has no %s \"%.100s\" in %s", what, name, list);
    return NULL;
}

/* A path is relative to the kubeconfig's folder. NULL: there is none. */
static const char *path_of(const struct kube_access *a, const char *kubeconfig,
                           const struct tree_node *map, const char *key)
{
    const char *path = text_of(map, key), *end = strrchr(kubeconfig, '/');
    if (path == NULL || path[0] == '/' || end == NULL)
        return path;
    return config_mem_printf(a->mem, "%.*s%s", (int)(end + 1 - kubeconfig), kubeconfig, path);
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* What is written in base64 under a key, in one line or several; empty: nothing is. False: it is
 * not base64. */
static bool data_of(const struct kube_access *a, const struct tree_node *map, const char *key,
                    struct span *out, char *why)
{
    const char *text = text_of(map, key);
    *out = span_of(NULL, 0);
    if (text == NULL)
        return true;
    char *bytes = config_mem_alloc(a->mem, 1, strlen(text) + 1);
    uint32_t held = 0, bits = 0;
    size_t n = 0;
    for (; *text != '\0' && *text != '='; text++) {
        int value = base64_value(*text);
        if (*text == '\n')
            continue;
        if (value < 0) {
            snprintf(why, KUBE_WHY, "the kubeconfig's %s is not base64", key);
            return false;
        }
        held = held << 6 | (uint32_t)value;
        bits += 6;
        if (bits >= 8)
            bytes[n++] = (char)(held >> (bits -= 8));
    }
    *out = span_of(bytes, n);
    return true;
}

static bool read_cluster(struct kube_access *a, const char *file, const struct tree_node *cluster,
                         char *why)
{
    const char *insecure = text_of(cluster, "insecure-skip-tls-verify");
    const char *server = text_of(cluster, "server");
    if (text_of(cluster, "proxy-url") != NULL) {
        snprintf(why, KUBE_WHY, "the kubeconfig has a proxy-url, which weir does not use");
        return false;
    }
    a->tls.no_verify = insecure != NULL && strcmp(insecure, "true") == 0;
    a->tls.server_name = text_of(cluster, "tls-server-name");
    a->tls.ca_file = path_of(a, file, cluster, "certificate-authority");
    if (a->tls.ca_file != NULL)
        note_file(a, a->tls.ca_file);
    return data_of(a, cluster, "certificate-authority-data", &a->tls.ca_pem, why) &&
           read_url(a, server != NULL ? server : "", why);
}

/* What weir cannot be: it runs no programs, and a password is no way to be known any more. */
static bool refuse_user(const struct tree_node *user, char *why)
{
    static const char *const keys[] = {"exec", "auth-provider", "username", "password"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (tree_get(user, keys[i]) == NULL)
            continue;
        snprintf(why, KUBE_WHY,
                 "the kubeconfig's user has %s, which weir does not do; give it a token, a "
                 "tokenFile or a client certificate (kubectl create token SERVICEACCOUNT)",
                 keys[i]);
        return false;
    }
    return true;
}

static bool read_user(struct kube_access *a, const char *file, const struct tree_node *user,
                      char *why)
{
    if (!refuse_user(user, why))
        return false;
    a->token_file = path_of(a, file, user, "tokenFile");
    a->token = text_of(user, "token");
    a->tls.cert_file = path_of(a, file, user, "client-certificate");
    a->tls.key_file = path_of(a, file, user, "client-key");
    if (a->tls.cert_file != NULL)
        note_file(a, a->tls.cert_file);
    if (a->tls.key_file != NULL)
        note_file(a, a->tls.key_file);
    if (!data_of(a, user, "client-certificate-data", &a->tls.cert_pem, why) ||
        !data_of(a, user, "client-key-data", &a->tls.key_pem, why))
        return false;
    bool halves = (a->tls.cert_pem.len > 0) != (a->tls.key_pem.len > 0);
    if (halves)
        snprintf(why, KUBE_WHY,
                 "the kubeconfig's client-certificate-data and client-key-data go together: one of "
                 "them is missing");
    return !halves;
}

static const struct tree_node *parse(struct kube_access *a, const char *path, char *why)
{
    struct config_errors errors = {0};
    size_t len;
    char *bytes = read_file(a->mem, path, "kubeconfig", &len, why);
    if (bytes == NULL)
        return NULL;
    const struct tree_node *root = tree_parse(a->mem, path, bytes, len, &errors);
    if (root == NULL && errors.count > 0)
        snprintf(why, KUBE_WHY, "%.200s:%u: %.250s", path, errors.items[0].pos.line,
                 errors.items[0].message);
    config_errors_free(&errors);
    return root;
}

static bool read_kubeconfig(struct kube_access *a, const char *path, char *why)
{
    note_file(a, path);
    const struct tree_node *root = parse(a, path, why), *context = NULL, *cluster = NULL,
                           *user = NULL;
    if (root != NULL)
        context = named(root, "contexts", "context", text_of(root, "current-context"), why);
    if (context != NULL)
        cluster = named(root, "clusters", "cluster", text_of(context, "cluster"), why);
    if (cluster == NULL)
        return false;
    const char *who = text_of(context, "user"); /* NULL: weir is nobody, whom the server may like */
    if (who != NULL)
        user = named(root, "users", "user", who, why);
    if (a->namespace == NULL)
        a->namespace = text_of(context, "namespace");
    return (who == NULL || user != NULL) && read_cluster(a, path, cluster, why) &&
           (user == NULL || read_user(a, path, user, why)) && check_namespace(a, path, why);
}

/* ---- all of it ---- */

/* What is wrong in a file begins with its path. */
static void say_where(const char *path, char why[KUBE_WHY])
{
    char what[KUBE_WHY];
    if (span_starts(span_str(why), span_str(path)))
        return;
    memcpy(what, why, sizeof(what));
    snprintf(why, KUBE_WHY, "%.200s: %.300s", path, what);
}

bool kube_access_read(struct kube_access *a, const struct source_kubernetes *from,
                      char why[KUBE_WHY])
{
    *a = (struct kube_access){.mem = config_mem_new(), .namespace = from->namespace};
    bool ok = from->kubeconfig != NULL ? read_kubeconfig(a, from->kubeconfig, why)
                                       : read_pod(a, from->credentials, why);
    if (!ok && from->kubeconfig != NULL)
        say_where(from->kubeconfig, why);
    if (a->namespace == NULL)
        a->namespace = "default";
    return ok;
}

void kube_access_free(struct kube_access *a)
{
    config_mem_free(a->mem);
    *a = (struct kube_access){0};
}

char *kube_access_bearer(const struct kube_access *a, char why[KUBE_WHY])
{
    struct config_mem *mem = config_mem_new();
    const char *token = a->token;
    char *bearer = NULL;
    why[0] = '\0';
    if (a->token_file != NULL)
        token = read_word(mem, a->token_file, "token", why);
    if (token != NULL) {
        size_t size = strlen(token) + sizeof("Bearer ");
        bearer = mem_need(malloc(size));
        snprintf(bearer, size, "Bearer %s", token);
    }
    config_mem_free(mem);
    return bearer;
}

void kube_access_files(const struct config_kubernetes *from,
                       void (*fn)(void *ctx, const char *path), void *ctx)
{
    const struct source_kubernetes k = {.kubeconfig = (char *)(uintptr_t)from->kubeconfig.text};
    struct kube_access a;
    char ignored[KUBE_WHY];
    if (from->kubeconfig.text == NULL) {
        fn(ctx, from->credentials.text);
        return;
    }
    kube_access_read(&a, &k, ignored);
    for (size_t i = 0; a.files[i] != NULL; i++)
        fn(ctx, a.files[i]);
    if (a.token_file != NULL)
        fn(ctx, a.token_file);
    kube_access_free(&a);
}
