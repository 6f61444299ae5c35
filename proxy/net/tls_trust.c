/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authorities: those of a file, or the system's. Owns what was read; must never touch a file but
 * while it loads. Loading is the control thread's, the rest any thread's.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_cert.h"
#include "proxy/net/tls_file.h"
#include "proxy/net/tls_ssl.h"

struct tls_trust {
    struct tls_der *certs;
    size_t n;
    unsigned char digest[TLS_DIGEST_BYTES];
};

/* Where distributions keep them, all in one file. */
static const char *const system_files[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
    "/etc/ssl/ca-bundle.pem",             /* openSUSE */
    "/etc/ssl/cert.pem",
};

const char *tls_trust_system(void)
{
    const char *asked = getenv(X509_get_default_cert_file_env());
    if (asked != NULL && asked[0] != '\0')
        return asked;
    if (access(X509_get_default_cert_file(), R_OK) == 0)
        return X509_get_default_cert_file();
    for (size_t i = 0; i < ARRAY_LEN(system_files); i++)
        if (access(system_files[i], R_OK) == 0)
            return system_files[i];
    return NULL;
}

static bool digest_all(struct tls_trust *trust)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; ok && i < trust->n; i++)
        ok = EVP_DigestUpdate(ctx, trust->certs[i].bytes, trust->certs[i].len) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, trust->digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static bool trust_read(struct tls_trust *trust, const struct tls_pem *pem, char **error)
{
    struct tls_file text;
    STACK_OF(X509) *certs = NULL;
    bool ok = tls_file_read(&text, pem, error) &&
              (certs = tls_pem_certs(&text, pem->name, error)) != NULL;
    if (ok) {
        size_t n = (size_t)sk_X509_num(certs);
        trust->certs = mem_need(calloc(n, sizeof(*trust->certs)));
        while (ok && trust->n < n) {
            ok = tls_der_of_x509(&trust->certs[trust->n], sk_X509_value(certs, (int)trust->n));
            trust->n += ok;
        }
        ok = ok && digest_all(trust);
        if (!ok)
            tls_fail(error, true, "%s: its certificates cannot be kept", pem->name);
    }
    sk_X509_pop_free(certs, X509_free);
    tls_file_clear(&text);
    return ok;
}

static struct tls_trust *trust_of(const struct tls_pem *pem, char **error)
{
    struct tls_trust *trust = mem_need(calloc(1, sizeof(*trust)));
    if (trust_read(trust, pem, error))
        return trust;
    tls_trust_free(trust);
    return NULL;
}

struct tls_trust *tls_trust_parse(struct span text, const char *name, char **error)
{
    const struct tls_pem pem = {name, text};
    return trust_of(&pem, error);
}

struct tls_trust *tls_trust_load(const char *file, char **error)
{
    const char *path = file != NULL ? file : tls_trust_system();
    if (path == NULL) {
        tls_fail(error, false, "the system has no certificates of authorities that could be found");
        return NULL;
    }
    const struct tls_pem pem = {.name = path};
    return trust_of(&pem, error);
}

void tls_trust_free(struct tls_trust *trust)
{
    if (trust == NULL)
        return;
    for (size_t i = 0; i < trust->n; i++)
        tls_der_clear(&trust->certs[i]);
    free(trust->certs);
    free(trust);
}

const unsigned char *tls_trust_digest(const struct tls_trust *trust)
{
    return trust->digest;
}

static bool names_add(STACK_OF(X509_NAME) * names, const X509 *cert)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(cert));
    if (name != NULL && sk_X509_NAME_push(names, name) > 0)
        return true;
    X509_NAME_free(name);
    return false;
}

/* With its key and its extensions, which OpenSSL reads once and keeps: what it could not read for
 * want of memory looks as if it were malformed, and were there none at the first handshake, nobody
 * whom it has signed would be trusted for as long as it lives. Another copy tells which it is.
 * NULL: no memory. */
static X509 *authority(const struct tls_der *der)
{
    X509 *cert;
    for (bool again = false; (cert = tls_der_x509(der)) != NULL; again = true) {
        if (again || (X509_check_purpose(cert, -1, 0) == 1 && X509_get0_pubkey(cert) != NULL))
            break; /* else it is malformed, and has signed nobody */
        X509_free(cert);
    }
    if (cert != NULL)
        ERR_clear_error();
    return cert;
}

bool tls_trust_fill(const struct tls_trust *trust, X509_STORE *store, STACK_OF(X509_NAME) * names)
{
    bool ok = true;
    for (size_t i = 0; ok && i < trust->n; i++) {
        X509 *cert = authority(&trust->certs[i]);
        ok = cert != NULL && (store == NULL || X509_STORE_add_cert(store, cert) == 1) &&
             (names == NULL || names_add(names, cert));
        X509_free(cert);
    }
    return ok;
}
