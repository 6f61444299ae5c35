/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for unit tests. Owns a temporary folder; one thread. */
#include "tests/unit/cert_maker.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "proxy/base/check.h"

void cert_maker_init(struct cert_maker *m)
{
    snprintf(m->folder, sizeof(m->folder), "/tmp/weir-certs-XXXXXX");
    CHECK(mkdtemp(m->folder) != NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

void cert_maker_fini(struct cert_maker *m)
{
    CHECK(nftw(m->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

const char *cert_path(const struct cert_maker *m, const char *file)
{
    static char paths[4][CERT_PATH];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, CERT_PATH, "%s/%s", m->folder, file);
    return path;
}

static FILE *open_file(const struct cert_maker *m, const char *name, const char *end,
                       const char *mode)
{
    char file[128];
    snprintf(file, sizeof(file), "%s%s", name, end);
    FILE *f = fopen(cert_path(m, file), mode);
    CHECK(f != NULL);
    return f;
}

static X509 *read_cert(const struct cert_maker *m, const char *name)
{
    FILE *f = open_file(m, name, ".crt", "r");
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    CHECK(cert != NULL);
    fclose(f);
    return cert;
}

static EVP_PKEY *read_key(const struct cert_maker *m, const char *name)
{
    FILE *f = open_file(m, name, ".key", "r");
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    CHECK(key != NULL);
    fclose(f);
    return key;
}

static void add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CHECK(ext != NULL && X509_add_ext(cert, ext, -1) == 1);
    X509_EXTENSION_free(ext);
}

static void set_subject(X509 *cert, const struct cert_spec *spec)
{
    X509_NAME *name = X509_get_subject_name(cert);
    const char *cn = spec->cn;
    CHECK(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Weir Tests",
                                     -1, -1, 0) == 1);
    if (cn != NULL)
        CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1,
                                         -1, 0) == 1);
}

static void write_both(struct cert_maker *m, const char *name, X509 *cert, EVP_PKEY *key)
{
    FILE *f = open_file(m, name, ".crt", "w");
    CHECK(PEM_write_X509(f, cert) == 1);
    fclose(f);
    f = open_file(m, name, ".key", "w");
    CHECK(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(f);
}

void cert_make(struct cert_maker *m, const struct cert_spec *spec)
{
    static long serial = 1000;
    EVP_PKEY *key = spec->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    X509 *cert = X509_new(), *issuer = cert;
    EVP_PKEY *issuer_key = key;
    bool usual = spec->from_days == 0 && spec->to_days == 0;
    CHECK(key != NULL && cert != NULL);
    if (spec->issuer != NULL) {
        issuer = read_cert(m, spec->issuer);
        issuer_key = read_key(m, spec->issuer);
    }
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), 86400L * (usual ? -1 : spec->from_days));
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * (usual ? 30 : spec->to_days));
    X509_set_pubkey(cert, key);
    set_subject(cert, spec);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    add_ext(cert, issuer, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (spec->san != NULL)
        add_ext(cert, issuer, NID_subject_alt_name, spec->san);
    CHECK(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
    write_both(m, spec->file, cert, key);
    if (issuer != cert) {
        X509_free(issuer);
        EVP_PKEY_free(issuer_key);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

void cert_make_ocsp(struct cert_maker *m, const char *file, const char *cert, const char *issuer,
                    bool good, int days)
{
    X509 *subject = read_cert(m, cert), *signer = read_cert(m, issuer);
    EVP_PKEY *key = read_key(m, issuer);
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), subject, signer);
    ASN1_TIME *then = X509_gmtime_adj(NULL, -86400L * 10),
              *next = X509_gmtime_adj(NULL, 86400L * days);
    CHECK(OCSP_basic_add1_status(basic, id,
                                 good ? V_OCSP_CERTSTATUS_GOOD : V_OCSP_CERTSTATUS_REVOKED, 0,
                                 good ? NULL : then, then, next) != NULL);
    CHECK(OCSP_basic_sign(basic, signer, key, EVP_sha256(), NULL, 0) == 1);
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    unsigned char *bytes = NULL;
    int len = i2d_OCSP_RESPONSE(response, &bytes);
    FILE *f = open_file(m, file, "", "w");
    CHECK(len > 0 && fwrite(bytes, 1, (size_t)len, f) == (size_t)len);
    fclose(f);
    OPENSSL_free(bytes);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(then);
    ASN1_TIME_free(next);
    EVP_PKEY_free(key);
    X509_free(subject);
    X509_free(signer);
}

void cert_encrypt(struct cert_maker *m, const char *name, const char *from)
{
    EVP_PKEY *key = read_key(m, from);
    FILE *f = open_file(m, name, ".key", "w");
    CHECK(PEM_write_PKCS8PrivateKey(f, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL) == 1);
    fclose(f);
    EVP_PKEY_free(key);
}

static void append(FILE *to, const struct cert_maker *m, const char *file)
{
    char bytes[4096];
    size_t n;
    FILE *from = open_file(m, file, "", "r");
    while ((n = fread(bytes, 1, sizeof(bytes), from)) > 0)
        CHECK(fwrite(bytes, 1, n, to) == n);
    fclose(from);
}

void cert_join(struct cert_maker *m, const char *to, const char *a, const char *b)
{
    FILE *f = open_file(m, to, "", "w");
    append(f, m, a);
    append(f, m, b);
    fclose(f);
}

void cert_write(struct cert_maker *m, const char *to, const char *text)
{
    FILE *f = open_file(m, to, "", "w");
    CHECK(fputs(text, f) >= 0);
    fclose(f);
}

void cert_folder(struct cert_maker *m, const char *name)
{
    CHECK(mkdir(cert_path(m, name), 0700) == 0);
}
