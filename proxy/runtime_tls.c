/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what the configuration says about TLS to what workers use. Owns nothing: all goes into the
 * specs. Control thread.
 */
#include "proxy/runtime_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/takeover.h"

/* What is wrong, and whose: "listeners.web" and "tls", or "admin" without a name; and where the
 * parts of that are named. */
struct place {
    struct config_errors *errs;
    const char *section, *name, *key;
    struct config_pos (*pos_of)(const void *tls, enum tls_part part);
    const void *tls;
};

/* Adds what a loader has said, and frees it. */
static void complain(const struct place *at, enum config_severity severity, struct config_pos pos,
                     char *text)
{
    char path[160];
    snprintf(path, sizeof(path), "%s%s%s.%s", at->section, at->name != NULL ? "." : "",
             at->name != NULL ? at->name : "", at->key);
    config_errors_add(at->errs, severity, pos, path, "%s", text != NULL ? text : "out of memory");
    free(text);
}

static char *copy(const char *s)
{
    return s != NULL ? mem_need(strdup(s)) : NULL;
}

static char *format_text(const char *what, const char *why)
{
    char text[512];
    snprintf(text, sizeof(text), "%s: %s", what, why);
    return copy(text);
}

static struct tls_source *source_new(const char *kind, const char *name, size_t n_certs)
{
    struct tls_source *source = mem_need(calloc(1, sizeof(*source)));
    source->refs = 1;
    source->kind = kind;
    source->name = copy(name);
    source->certs = n_certs > 0 ? mem_need(calloc(n_certs, sizeof(source->certs[0]))) : NULL;
    source->n_certs = n_certs;
    return source;
}

static bool source_read(struct tls_source *source, const struct place *at)
{
    struct tls_problem error = {0}, warning = {0};
    source->set = tls_set_load(source, &error, &warning);
    if (source->set == NULL)
        complain(at, CONFIG_ERROR, at->pos_of(at->tls, error.part), error.text);
    if (warning.text != NULL)
        complain(at, CONFIG_WARNING, at->pos_of(at->tls, warning.part), warning.text);
    return source->set != NULL;
}

/* ---- listeners ---- */

static uint8_t alpn_of(const struct config_tls_server *from)
{
    uint8_t alpn = from->alpn_count == 0 ? TLS_ALPN_H1 | TLS_ALPN_H2 : 0;
    for (size_t i = 0; i < from->alpn_count; i++)
        alpn |= strcmp(from->alpn[i].text, "h2") == 0 ? TLS_ALPN_H2 : TLS_ALPN_H1;
    return alpn;
}

/* tickets: those that it had before, or NULL; taken over. */
static struct tls_source *server_source(const char *kind, const char *name,
                                        const struct config_tls_server *tls,
                                        struct tls_tickets *tickets)
{
    struct tls_source *source = source_new(kind, name, tls->cert_count);
    for (size_t i = 0; i < tls->cert_count; i++)
        source->certs[i] = copy(tls->certs[i].text);
    source->ca = copy(tls->client_ca.text);
    source->ocsp = copy(tls->ocsp.text);
    source->server = (struct tls_server_options){
        .client_optional = tls->client_auth == CONFIG_CLIENT_OPTIONAL,
        .tls13_only = tls->min_version == CONFIG_TLS_1_3,
        .alpn = alpn_of(tls),
        .tickets = tickets != NULL ? tickets : tls_tickets_new(),
    };
    return source;
}

/* Which of several paths it was: the one that is no good alone. */
static struct config_pos guilty_cert(const struct config_tls_server *from)
{
    for (size_t i = 0; i < from->cert_count; i++) {
        char *ignored = NULL;
        struct tls_certs *certs = tls_certs_load(&from->certs[i].text, 1, &ignored);
        free(ignored);
        if (certs == NULL)
            return from->certs[i].pos;
        tls_certs_unref(certs);
    }
    return from->pos;
}

static struct config_pos listener_pos(const void *tls, enum tls_part part)
{
    const struct config_tls_server *from = tls;
    switch (part) {
    case TLS_PART_CERTS:
        return guilty_cert(from);
    case TLS_PART_CA:
        return from->client_ca.pos;
    case TLS_PART_OCSP:
        return from->ocsp.pos;
    case TLS_PART_CONTEXT:
        break;
    }
    return from->pos;
}

/* Why keys are not to be written there, or NULL. A file that others can open is left as it is: they
 * may have it open already. */
static const char *keylog_flaw(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return "keys of connections are written to a file only";
    if (st.st_uid != geteuid())
        return "keys of connections would be written to somebody else's file";
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return "others may open it, and it is for the keys of all connections: remove it, or "
               "\"chmod 600\" it";
    return NULL;
}

/* Its lines are appended to; nobody else may read them. A pipe is not waited for. */
static bool open_keylog(const struct config_tls_server *from, struct tls_source *to,
                        const struct place *at)
{
    const char *path = from->keylog.text;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    const char *flaw = fd < 0 ? strerror(errno) : keylog_flaw(fd);
    if (flaw != NULL) {
        complain(at, CONFIG_ERROR, from->keylog.pos, format_text(path, flaw));
        if (fd >= 0)
            close(fd);
        return false;
    }
    to->server.keylog_fd = fd;
    return true;
}

static bool has_tickets(const struct tls_source *source, const struct place *at)
{
    const struct config_tls_server *tls = at->tls;
    if (source->server.tickets == NULL)
        complain(at, CONFIG_ERROR, tls->pos, copy("the system has no randomness to give"));
    return source->server.tickets != NULL;
}

bool runtime_listener_tls(const struct config_listener *from, struct tls_source **to, bool keylog,
                          struct config_errors *errs)
{
    const struct config_tls_server *tls = &from->tls;
    struct place at = {errs, "listeners", from->name, "tls", listener_pos, tls};
    if (!tls->enabled)
        return true;
    *to = server_source("listener", from->name, tls, takeover_tickets(from->name));
    return has_tickets(*to, &at) && source_read(*to, &at) &&
           (!keylog || tls->keylog.text == NULL || open_keylog(tls, *to, &at));
}

bool runtime_admin_tls(const struct config *cfg, struct tls_source **to, struct config_errors *errs)
{
    const struct config_tls_server *tls = &cfg->admin.tls;
    struct place at = {errs, "admin", NULL, "tls", listener_pos, tls};
    if (!cfg->admin.enabled || !tls->enabled)
        return true;
    *to = server_source("admin", "listener", tls, NULL);
    (*to)->server.alpn = TLS_ALPN_H1;
    return has_tickets(*to, &at) && source_read(*to, &at);
}

/* ---- pools ---- */

static char *without_dot(const char *name)
{
    size_t len = strlen(name);
    return mem_need(strndup(name, len > 0 && name[len - 1] == '.' ? len - 1 : len));
}

/* Every endpoint has this host, or all have addresses, which conns know by themselves: config has
 * seen to that. What DNS leads to is who the name says it is. malloc'd, or NULL. */
static char *server_name(const struct config_pool *from)
{
    struct net_addr addr;
    if (from->tls.sni != NULL)
        return copy(from->tls.sni);
    if (from->dns.enabled)
        return without_dot(from->dns.name);
    if (config_pool_discovers(from))
        return NULL;
    const struct config_addr *first = &from->endpoints[0].address;
    if (first->kind == CONFIG_ADDR_UNIX || net_addr_ip(&addr, first->host, first->port))
        return NULL;
    return copy(first->host);
}

/* The system's authorities are named too: they change as any others do. */
static struct tls_source *pool_source(const struct config_pool *from)
{
    const struct config_tls_client *tls = &from->tls;
    struct tls_source *source = source_new("pool", from->name, tls->cert.text != NULL);
    if (tls->cert.text != NULL)
        source->certs[0] = copy(tls->cert.text);
    source->key = copy(tls->key.text);
    if (tls->verify)
        source->ca = copy(tls->ca.text != NULL ? tls->ca.text : tls_trust_system());
    source->is_client = true;
    source->client = (struct tls_client_options){
        .no_verify = !tls->verify,
        .server_name = server_name(from),
    };
    return source;
}

static struct config_pos pool_pos(const void *tls, enum tls_part part)
{
    const struct config_tls_client *from = tls;
    if (part == TLS_PART_CERTS)
        return from->cert.pos;
    return part == TLS_PART_CA && from->ca.text != NULL ? from->ca.pos : from->pos;
}

static enum pool_protocol protocol_of(const struct config_pool *from)
{
    /* A conn of one client's can't be shared, so h2 would be of no use on it. */
    if (from->protocol == CONFIG_PROTOCOL_H1 || from->proxy_protocol != CONFIG_PROXY_NONE)
        return POOL_H1;
    return from->protocol == CONFIG_PROTOCOL_H2 ? POOL_H2 : POOL_AUTO;
}

bool runtime_pool_tls(const struct config_pool *from, struct pool_spec *to,
                      struct tls_source *known, struct config_errors *errs)
{
    struct place at = {errs, "pools", from->name, "upstream.tls", pool_pos, &from->tls};
    to->protocol = protocol_of(from);
    to->proxy_header = (uint8_t)from->proxy_protocol;
    if (!from->tls.enabled)
        return true;
    to->source = known != NULL ? tls_source_ref(known) : pool_source(from);
    to->tls = &to->source->client;
    return known != NULL || source_read(to->source, &at);
}

/* ---- weir check ---- */

bool runtime_check(const struct config *cfg, struct config_errors *errs)
{
    struct tls_source *admin = NULL;
    bool ok = runtime_admin_tls(cfg, &admin, errs);
    tls_source_unref(admin);
    for (size_t i = 0; i < cfg->listener_count; i++) {
        struct tls_source *tls = NULL;
        ok &= runtime_listener_tls(&cfg->listeners[i], &tls, false, errs);
        tls_source_unref(tls);
    }
    for (size_t i = 0; i < cfg->pool_count; i++) {
        struct pool_spec spec = {0};
        ok &= runtime_pool_tls(&cfg->pools[i], &spec, NULL, errs);
        tls_source_unref(spec.source);
    }
    return ok;
}
