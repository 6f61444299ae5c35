/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts towards servers: whom to trust and to expect, and a session for each endpoint. Owns its
 * sessions; must never touch a file. One worker's.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/addr.h"
#include "proxy/net/tls_ssl.h"

struct tls_client_ctx {
    struct tls_ctx base;
    bool verify;
    bool name_is_ip;
    char *name;
    uint64_t files;         /* of its options */
    SSL_SESSION **sessions; /* by endpoint; NULL: none */
    uint32_t n_sessions;
    void (*ended)(void *ctx, uint32_t endpoint, const struct tls_info *info); /* or NULL */
    void *ended_ctx;
};

static struct tls_client_ctx *client_of(struct tls_ctx *ctx)
{
    return CONTAINER_OF(ctx, tls_client_ctx, base);
}

struct tls_ctx *tls_client_ctx_base(struct tls_client_ctx *ctx)
{
    return ctx != NULL ? &ctx->base : NULL;
}

static void client_free(struct tls_ctx *base)
{
    struct tls_client_ctx *ctx = client_of(base);
    for (uint32_t i = 0; i < ctx->n_sessions; i++)
        SSL_SESSION_free(ctx->sessions[i]);
    free(ctx->sessions);
    free(ctx->name);
    tls_ctx_clear(base);
    free(ctx);
}

void tls_client_ctx_free(struct tls_client_ctx *ctx)
{
    tls_ctx_unref(tls_client_ctx_base(ctx));
}

bool tls_client_ctx_alike(const struct tls_client_ctx *a, const struct tls_client_ctx *b)
{
    return a == b || (a != NULL && b != NULL && a->files != 0 && a->files == b->files);
}

struct tls_client_ctx *tls_client_ctx_of(struct tls_ctx *ctx)
{
    CHECK(ctx->free == client_free);
    return client_of(ctx);
}

/* ---- sessions ---- */

/* False: no memory. */
static bool sessions_grow(struct tls_client_ctx *ctx, uint32_t n)
{
    if (n <= ctx->n_sessions)
        return true;
    SSL_SESSION **sessions = realloc(ctx->sessions, n * sizeof(SSL_SESSION *));
    if (sessions == NULL)
        return false;
    memset(sessions + ctx->n_sessions, 0, (n - ctx->n_sessions) * sizeof(SSL_SESSION *));
    ctx->sessions = sessions;
    ctx->n_sessions = n;
    return true;
}

/* Returns 1: the session's reference is ours now; 0: it is not kept, and the next handshake is a
 * full one. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client_ctx *ctx = client_of(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    uint32_t endpoint = tls_endpoint(ssl);
    if (!sessions_grow(ctx, endpoint + 1))
        return 0;
    SSL_SESSION_free(ctx->sessions[endpoint]);
    ctx->sessions[endpoint] = session;
    return 1;
}

void tls_client_forget(struct tls_client_ctx *ctx, uint32_t endpoint)
{
    if (endpoint < ctx->n_sessions)
        SSL_SESSION_free(TAKE(ctx->sessions[endpoint]));
}

void tls_client_ended(struct tls_client_ctx *ctx, uint32_t endpoint, const struct tls_info *info)
{
    if (ctx->ended != NULL)
        ctx->ended(ctx->ended_ctx, endpoint, info);
}

/* ---- a conn ---- */

static bool expect_ip(SSL *ssl, const char *ip)
{
    return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), ip) == 1;
}

static bool expect_addr(SSL *ssl, const struct net_addr *to)
{
    char text[NET_ADDR_TEXT], ip[NET_ADDR_TEXT + 1];
    struct span host = net_addr_print_host(to, text);
    memcpy(ip, host.ptr, host.len);
    ip[host.len] = '\0';
    return expect_ip(ssl, ip);
}

/* Of a subject no name is taken, not even for want of others (RFC 9525 section 2). */
static bool expect_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

const char *tls_client_prepare(struct tls_client_ctx *ctx, SSL *ssl, uint32_t endpoint,
                               const struct net_addr *to)
{
    bool ok = true;
    if (ctx->name != NULL && !ctx->name_is_ip)
        ok = SSL_set_tlsext_host_name(ssl, ctx->name) == 1;
    if (ok && ctx->verify) {
        if (ctx->name == NULL && (to == NULL || net_addr_is_unix(to)))
            return "it is not known which name the server's certificate should have";
        if (ctx->name == NULL)
            ok = expect_addr(ssl, to);
        else
            ok = ctx->name_is_ip ? expect_ip(ssl, ctx->name) : expect_name(ssl, ctx->name);
    }
    if (ok && endpoint < ctx->n_sessions && ctx->sessions[endpoint] != NULL)
        ok = SSL_set_session(ssl, ctx->sessions[endpoint]) == 1;
    return ok ? NULL : tls_last_error();
}

/* ---- making one ---- */

static bool set_alpn(SSL_CTX *ssl, uint8_t alpn)
{
    static const unsigned char both[] = "\2h2\10http/1.1";
    const unsigned char *list = alpn & TLS_ALPN_H2 ? both : both + 3;
    unsigned len = (alpn & TLS_ALPN_H2 ? 3 : 0) + (alpn & TLS_ALPN_H1 ? 9 : 0);
    return len == 0 || SSL_CTX_set_alpn_protos(ssl, list, len) == 0;
}

static bool is_ip(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool set_trust(SSL_CTX *ssl, const struct tls_trust *ca)
{
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return tls_trust_fill(ca, SSL_CTX_get_cert_store(ssl), NULL);
}

/* The first one goes; a server is shown at most one. */
static bool set_cert(SSL_CTX *ssl, const struct tls_certs *cert, char **error)
{
    return cert == NULL || tls_use_pair(ssl, tls_certs_pair(cert, 0), error);
}

struct tls_client_ctx *tls_client_ctx_new(const struct tls_client_options *options, char **error)
{
    struct tls_client_ctx *ctx = mem_need(calloc(1, sizeof(*ctx)));
    CHECK(options->no_verify || options->ca != NULL);
    *error = NULL;
    ctx->verify = !options->no_verify;
    tls_ctx_keylog(&ctx->base, options->keylog_fd);
    ctx->files = options->files;
    ctx->ended = options->ended;
    ctx->ended_ctx = options->ctx;
    if (options->server_name != NULL) {
        ctx->name = mem_need(strdup(options->server_name));
        ctx->name_is_ip = is_ip(ctx->name);
    }
    SSL_CTX *ssl = NULL;
    if (tls_ctx_init(&ctx->base, client_free))
        ssl = ctx->base.ssl = tls_ssl_ctx_new(TLS_client_method(), options->tls13_only, &ctx->base);
    if (ssl != NULL && set_alpn(ssl, options->alpn) &&
        (!ctx->verify || set_trust(ssl, options->ca)) && set_cert(ssl, options->cert, error)) {
        SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ssl, on_session);
        return ctx;
    }
    if (*error == NULL)
        tls_fail(error, true, "TLS towards servers cannot be set up");
    tls_client_ctx_free(ctx);
    return NULL;
}
