/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL over two buffers of its own. Its worker's thread only, but for tls_open().
 */
#include "backends/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

struct tls {
    SSL *ssl;
    BIO *in, *out; /* the SSL's */
    bool ended;    /* we said so */
};

/* As ALPN has them, each with its length. */
static const unsigned char protocols[] = "\x02h2\x08http/1.1";
#define H2_LEN 3 /* of the first of them */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *h2)
{
    (void)ssl;
    size_t skip = h2 ? 0 : H2_LEN;
    int rc = SSL_select_next_proto((unsigned char **)out, out_len, protocols + skip,
                                   (unsigned)(sizeof(protocols) - 1 - skip), in, in_len);
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "can't be read";
}

SSL_CTX *tls_open(const char *cert, const char *key, bool h2, const char **what, const char **why)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    *what = cert;
    if (ctx && SSL_CTX_use_certificate_chain_file(ctx, cert) == 1) {
        *what = key ? key : cert;
        if (SSL_CTX_use_PrivateKey_file(ctx, *what, SSL_FILETYPE_PEM) == 1) {
            SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
            SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
            SSL_CTX_set_alpn_select_cb(ctx, on_alpn, h2 ? ctx : NULL);
            return ctx;
        }
    }
    *why = reason();
    SSL_CTX_free(ctx);
    return NULL;
}

struct tls *tls_new(SSL_CTX *ctx)
{
    struct tls *t = calloc(1, sizeof(*t));
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (t)
        t->ssl = SSL_new(ctx);
    if (!t || !t->ssl || !in || !out) {
        BIO_free(in);
        BIO_free(out);
        tls_free(t);
        return NULL;
    }
    t->in = in;
    t->out = out;
    SSL_set_bio(t->ssl, in, out);
    SSL_set_accept_state(t->ssl);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    free(t);
}

bool tls_feed(struct tls *t, const char *ptr, size_t len)
{
    size_t n;
    return BIO_write_ex(t->in, ptr, len, &n) == 1 && n == len;
}

enum tls_read tls_read(struct tls *t, char *buf, size_t room, size_t *len)
{
    ERR_clear_error();
    if (SSL_read_ex(t->ssl, buf, room, len) == 1)
        return TLS_SOME;
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return TLS_NONE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_ENDED;
    default:
        return TLS_BROKEN;
    }
}

bool tls_write(struct tls *t, const char *ptr, size_t len)
{
    size_t n;
    ERR_clear_error();
    return len == 0 || (SSL_write_ex(t->ssl, ptr, len, &n) == 1 && n == len);
}

void tls_end(struct tls *t)
{
    ERR_clear_error();
    if (!t->ended && SSL_is_init_finished(t->ssl))
        SSL_shutdown(t->ssl);
    t->ended = true;
}

struct span tls_output(struct tls *t)
{
    char *ptr;
    long len = BIO_get_mem_data(t->out, &ptr);
    return span_of(ptr, (size_t)len);
}

void tls_output_done(struct tls *t)
{
    CHECK(BIO_reset(t->out) == 1);
}
