/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What contexts of both sides have in common. Owns its SSL_CTX; must never touch a file but the key
 * log. One worker's.
 */
#include "proxy/net/tls_ctx.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <openssl/err.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_ssl.h"

/* Mozilla's intermediate list, without DHE. The order is ours, but for a client that puts ChaCha20
 * first: it has no AES in hardware. */
#define CIPHERS_12                                               \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS     "X25519:P-256:P-384"

const char *tls_library_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

bool tls_ctx_init(struct tls_ctx *ctx, void (*dtor)(struct tls_ctx *))
{
    ctx->refs = 1;
    ctx->free = dtor;
    ctx->scratch = mem_need(malloc(TLS_RECORD));
    ctx->bio = tls_bio_method();
    return ctx->bio != NULL;
}

void tls_ctx_clear(struct tls_ctx *ctx)
{
    SSL_CTX_free(TAKE(ctx->ssl));
    BIO_meth_free(TAKE(ctx->bio));
    OPENSSL_cleanse(ctx->scratch, TLS_RECORD);
    free(TAKE(ctx->scratch));
    if (ctx->keylog_fd >= 0)
        close(ctx->keylog_fd);
}

void tls_ctx_keylog(struct tls_ctx *ctx, int fd)
{
    ctx->keylog_fd = fd != 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
}

void tls_ctx_unref(struct tls_ctx *ctx)
{
    if (ctx == NULL)
        return;
    CHECK(ctx->refs > 0);
    if (--ctx->refs == 0)
        ctx->free(ctx);
}

static void on_keylog(const SSL *ssl, const char *line)
{
    const struct tls_ctx *ctx = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    char end[] = "\n";
    struct iovec parts[] = {{(char *)(uintptr_t)line, strlen(line)}, {end, 1}};
    ssize_t n = writev(ctx->keylog_fd, parts, ARRAY_LEN(parts));
    (void)n; /* a log that cannot be written is nobody's fault on the wire */
}

/* A step of reading a message of the handshake protocol, or an alert of ours is the answer. */
static void on_info(const SSL *ssl, int what, int value)
{
    (void)value;
    if ((what & SSL_CB_LOOP) || (what & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT)
        tls_aside(ssl);
}

static bool set_rules(SSL_CTX *ssl, bool tls13_only)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
    return SSL_CTX_set_min_proto_version(ssl, tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ssl, CIPHERS_12) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, CIPHERS_13) == 1 &&
           SSL_CTX_set1_groups_list(ssl, GROUPS) == 1;
}

SSL_CTX *tls_ssl_ctx_new(const SSL_METHOD *method, bool tls13_only, struct tls_ctx *ctx)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(method);
    if (ssl == NULL)
        return NULL;
    if (!set_rules(ssl, tls13_only) || SSL_CTX_set_app_data(ssl, ctx) != 1) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    SSL_CTX_set_info_callback(ssl, on_info);
    if (ctx->keylog_fd >= 0)
        SSL_CTX_set_keylog_callback(ssl, on_keylog);
    return ssl;
}

static bool use_chain(SSL_CTX *ssl, const struct tls_pair *pair)
{
    for (size_t i = 1; i < pair->n_chain; i++) {
        X509 *cert = tls_der_x509(&pair->chain[i]);
        if (cert == NULL || SSL_CTX_add0_chain_cert(ssl, cert) != 1) {
            X509_free(cert);
            return false;
        }
    }
    return true;
}

bool tls_use_pair(SSL_CTX *ssl, const struct tls_pair *pair, char **error)
{
    X509 *cert = tls_der_x509(&pair->chain[0]);
    EVP_PKEY *key = tls_der_key(&pair->key);
    bool ok = cert != NULL && key != NULL && SSL_CTX_use_certificate(ssl, cert) == 1 &&
              SSL_CTX_use_PrivateKey(ssl, key) == 1 && use_chain(ssl, pair);
    X509_free(cert);
    EVP_PKEY_free(key);
    if (!ok)
        tls_fail(error, true, "%s: OpenSSL refuses it", pair->info.cert_file);
    return ok;
}
