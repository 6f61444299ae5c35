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

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

/* What is wrong, and whose: "listeners.web" and "tls". */
struct place {
    struct config_errors *errs;
    const char *section, *name, *key;
};

/* Adds what a loader has said, and frees it. */
static void complain(const struct place *at, enum config_severity severity, struct config_pos pos,
                     char *text)
{
    char path[160];
    snprintf(path, sizeof(path), "%s.%s.%s", at->section, at->name, at->key);
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

/* ---- listeners ---- */

static uint8_t alpn_of(const struct config_tls_server *from)
{
    uint8_t alpn = from->alpn_count == 0 ? TLS_ALPN_H1 | TLS_ALPN_H2 : 0;
    for (size_t i = 0; i < from->alpn_count; i++)
        alpn |= strcmp(from->alpn[i].text, "h2") == 0 ? TLS_ALPN_H2 : TLS_ALPN_H1;
    return alpn;
}

static struct listener_tls *describe(const struct config_tls_server *from)
{
    struct listener_tls *tls = mem_need(calloc(1, sizeof(*tls)));
    tls->certs = mem_need(calloc(from->cert_count, sizeof(tls->certs[0])));
    tls->n_certs = from->cert_count;
    for (size_t i = 0; i < from->cert_count; i++)
        tls->certs[i] = copy(from->certs[i].text);
    tls->client_ca = copy(from->client_ca.text);
    tls->ocsp = copy(from->ocsp.text);
    tls->options = (struct tls_server_options){
        .client_optional = from->client_auth == CONFIG_CLIENT_OPTIONAL,
        .tls13_only = from->min_version == CONFIG_TLS_1_3,
        .alpn = alpn_of(from),
        .tickets = tls_tickets_new(),
    };
    return tls;
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

static struct config_pos pos_of_part(const struct config_tls_server *from, enum tls_part part)
{
    switch (part) {
    case TLS_PART_CERTS:
        return guilty_cert(from);
    case TLS_PART_CLIENT_CA:
        return from->client_ca.pos;
    case TLS_PART_OCSP:
        return from->ocsp.pos;
    case TLS_PART_CONTEXT:
        break;
    }
    return from->pos;
}

/* Its lines are appended to; nobody else may read them. */
static bool open_keylog(const struct config_tls_server *from, struct listener_tls *tls,
                        const struct place *at)
{
    int fd = open(from->keylog.text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        complain(at, CONFIG_ERROR, from->keylog.pos,
                 format_text(from->keylog.text, strerror(errno)));
        return false;
    }
    tls->options.keylog_fd = fd;
    return true;
}

bool runtime_listener_tls(const struct config_listener *from, struct listener_spec *to, bool keylog,
                          struct config_errors *errs)
{
    const struct config_tls_server *tls = &from->tls;
    struct place at = {errs, "listeners", from->name, "tls"};
    struct tls_problem error = {0}, warning = {0};
    if (!tls->enabled)
        return true;
    to->tls = describe(tls);
    if (to->tls->options.tickets == NULL) {
        complain(&at, CONFIG_ERROR, tls->pos, copy("the system has no randomness to give"));
        return false;
    }
    to->tls->set = tls_set_load(to->tls, &error, &warning);
    if (to->tls->set == NULL)
        complain(&at, CONFIG_ERROR, pos_of_part(tls, error.part), error.text);
    if (warning.text != NULL)
        complain(&at, CONFIG_WARNING, pos_of_part(tls, warning.part), warning.text);
    if (to->tls->set == NULL)
        return false;
    return !keylog || tls->keylog.text == NULL || open_keylog(tls, to->tls, &at);
}

/* ---- pools ---- */

/* Every endpoint has this host, or all have addresses, which conns know by themselves: config has
 * seen to that. */
static const char *server_name(const struct config_pool *from)
{
    struct net_addr addr;
    const struct config_addr *first = &from->endpoints[0].address;
    if (from->tls.sni != NULL)
        return from->tls.sni;
    if (first->kind == CONFIG_ADDR_UNIX || net_addr_ip(&addr, first->host, first->port))
        return NULL;
    return first->host;
}

static bool load_client_files(const struct config_pool *from, struct tls_client_options *to,
                              const struct place *at)
{
    const struct config_tls_client *tls = &from->tls;
    char *error = NULL;
    if (tls->verify) {
        to->ca = tls_trust_load(tls->ca.text, &error);
        if (to->ca == NULL) {
            complain(at, CONFIG_ERROR, tls->ca.text ? tls->ca.pos : tls->pos, error);
            return false;
        }
    }
    if (tls->cert.text != NULL) {
        to->cert = tls_certs_load_pair(tls->cert.text, tls->key.text, &error);
        if (to->cert == NULL) {
            complain(at, CONFIG_ERROR, tls->cert.pos, error);
            return false;
        }
    }
    return true;
}

static enum pool_protocol protocol_of(const struct config_pool *from)
{
    /* A conn of one client's can't be shared, so h2 would be of no use on it. */
    if (from->protocol == CONFIG_PROTOCOL_H1 || from->proxy_protocol != CONFIG_PROXY_NONE)
        return POOL_H1;
    return from->protocol == CONFIG_PROTOCOL_H2 ? POOL_H2 : POOL_AUTO;
}

bool runtime_pool_tls(const struct config_pool *from, struct pool_spec *to,
                      struct config_errors *errs)
{
    struct place at = {errs, "pools", from->name, "upstream.tls"};
    char *error = NULL;
    to->protocol = protocol_of(from);
    to->proxy_header = (uint8_t)from->proxy_protocol;
    if (!from->tls.enabled)
        return true;
    struct tls_client_options *tls = mem_need(calloc(1, sizeof(*tls)));
    *tls = (struct tls_client_options){
        .no_verify = !from->tls.verify,
        .server_name = copy(server_name(from)),
    };
    to->tls = tls;
    if (!load_client_files(from, tls, &at))
        return false;
    struct tls_client_ctx *tried = tls_client_ctx_new(to->tls, &error);
    if (tried == NULL)
        complain(&at, CONFIG_ERROR, from->tls.pos, error);
    tls_client_ctx_free(tried);
    return tried != NULL;
}

/* ---- weir check ---- */

bool runtime_check(const struct config *cfg, struct config_errors *errs)
{
    bool ok = true;
    for (size_t i = 0; i < cfg->listener_count; i++) {
        struct listener_spec spec = {0};
        ok &= runtime_listener_tls(&cfg->listeners[i], &spec, false, errs);
        listener_tls_free(spec.tls);
    }
    for (size_t i = 0; i < cfg->pool_count; i++) {
        struct pool_spec spec = {0};
        ok &= runtime_pool_tls(&cfg->pools[i], &spec, errs);
        pool_tls_free(spec.tls);
    }
    return ok;
}
