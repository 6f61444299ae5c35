/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS conn of a client that may wait. Owns no socket; must never be used by what serves. The
 * only thread. */
#include "proxy/net/tls_ask.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "proxy/base/mem.h"

struct tls_ask {
    SSL_CTX *ctx;
    SSL *ssl;
    char error[256]; /* "": none */
};

static int fail(struct tls_ask *t, const char *what)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    if (t->error[0] == '\0')
        snprintf(t->error, sizeof(t->error), "%s%s%s", what, why != NULL ? ": " : "",
                 why != NULL ? why : "");
    ERR_clear_error();
    return TLS_ASK_FAILED;
}

static bool use_files(struct tls_ask *t, const struct tls_ask_options *o)
{
    const char *key = o->key != NULL ? o->key : o->cert;
    bool trusts = o->ca != NULL ? SSL_CTX_load_verify_locations(t->ctx, o->ca, NULL) == 1
                                : SSL_CTX_set_default_verify_paths(t->ctx) == 1;
    if (!trusts)
        return fail(t, o->ca != NULL ? o->ca : "the system's authorities") == 0;
    if (o->cert == NULL)
        return true;
    if (SSL_CTX_use_certificate_chain_file(t->ctx, o->cert) != 1)
        return fail(t, o->cert) == 0;
    if (SSL_CTX_use_PrivateKey_file(t->ctx, key, SSL_FILETYPE_PEM) != 1)
        return fail(t, key) == 0;
    return true;
}

static bool expect(SSL *ssl, const char *name)
{
    unsigned char ip[sizeof(struct in6_addr)];
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (name == NULL)
        return true;
    if (inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct tls_ask *tls_ask_new(int fd, const struct tls_ask_options *options)
{
    struct tls_ask *t = mem_need(calloc(1, sizeof(*t)));
    t->ctx = mem_need(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(t->ctx), X509_V_FLAG_PARTIAL_CHAIN);
    if (!use_files(t, options))
        return t;
    t->ssl = mem_need(SSL_new(t->ctx));
    if (SSL_set_fd(t->ssl, fd) != 1 || !expect(t->ssl, options->name))
        fail(t, "TLS cannot be set up");
    SSL_set_connect_state(t->ssl);
    return t;
}

/* What a call that returned n <= 0 comes to. */
static ssize_t outcome(struct tls_ask *t, int n)
{
    switch (SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        return TLS_ASK_IN;
    case SSL_ERROR_WANT_WRITE:
        return TLS_ASK_OUT;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        break;
    }
    long verdict = SSL_get_verify_result(t->ssl);
    if (verdict != X509_V_OK) {
        ERR_clear_error();
        return fail(t, X509_verify_cert_error_string(verdict));
    }
    return fail(t, "TLS");
}

ssize_t tls_ask_write(struct tls_ask *t, const char *bytes, size_t len)
{
    if (t->error[0] != '\0')
        return TLS_ASK_FAILED;
    ERR_clear_error();
    int n = SSL_write(t->ssl, bytes, len < 16384 ? (int)len : 16384);
    return n > 0 ? n : outcome(t, n);
}

ssize_t tls_ask_read(struct tls_ask *t, char *bytes, size_t len)
{
    ERR_clear_error();
    int n = SSL_read(t->ssl, bytes, len < 16384 ? (int)len : 16384);
    return n > 0 ? n : outcome(t, n);
}

const char *tls_ask_error(const struct tls_ask *t)
{
    return t->error;
}

void tls_ask_free(struct tls_ask *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    free(t);
}
