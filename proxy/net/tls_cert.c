/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates, keys and authorities from files. Owns what was read, as DER; must never touch a
 * file but in the functions that load. Loading is the control thread's, the rest any thread's.
 */
#include "proxy/net/tls_cert.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_file.h"
#include "proxy/net/tls_ssl.h"

struct tls_certs {
    atomic_uint refs;
    struct tls_pair *pairs;
    size_t n;
};

/* ---- words for what is wrong ---- */

const char *tls_last_error(void)
{
    unsigned long last = 0, code;
    bool memory = false;
    while ((code = ERR_get_error()) != 0) {
        memory |= ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE; /* the rest only follows from it */
        last = code;
    }
    const char *why = last != 0 ? ERR_reason_error_string(last) : NULL;
    if (memory)
        return "memory is out";
    return why != NULL ? why : "unknown error";
}

void tls_fail(char **error, bool with_ssl, const char *format, ...)
{
    va_list args;
    char *text = NULL, *whole = NULL;
    const char *why = tls_last_error();
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        mem_out();
    va_end(args);
    if (with_ssl && asprintf(&whole, "%s: %s", text, why) < 0)
        mem_out();
    if (with_ssl)
        free(text);
    *error = with_ssl ? whole : text;
}

/* ---- DER ---- */

X509 *tls_der_x509(const struct tls_der *der)
{
    const unsigned char *at = der->bytes;
    return d2i_X509(NULL, &at, (long)der->len);
}

EVP_PKEY *tls_der_key(const struct tls_der *der)
{
    const unsigned char *at = der->bytes;
    return d2i_AutoPrivateKey(NULL, &at, (long)der->len);
}

/* Takes over what an i2d function returned. */
static bool der_set(struct tls_der *der, unsigned char *bytes, int len)
{
    if (len <= 0)
        return false;
    *der = (struct tls_der){bytes, (size_t)len};
    return true;
}

bool tls_der_of_x509(struct tls_der *der, const X509 *cert)
{
    unsigned char *bytes = NULL;
    int len = i2d_X509(cert, &bytes);
    return der_set(der, bytes, len);
}

void tls_der_clear(struct tls_der *der)
{
    OPENSSL_clear_free(TAKE(der->bytes), der->len);
    der->len = 0;
}

int64_t tls_unix_time(const ASN1_TIME *when)
{
    struct tm tm;
    return when != NULL && ASN1_TIME_to_tm(when, &tm) ? (int64_t)timegm(&tm) : 0;
}

/* ---- names ---- */

struct name_list {
    char **names;
    size_t n;
};

static void name_add(struct name_list *list, const char *bytes, size_t len)
{
    if (len == 0 || memchr(bytes, '\0', len) != NULL)
        return;
    char *name = mem_need(calloc(1, len + 1));
    for (size_t i = 0; i < len; i++)
        name[i] = ascii_lower(bytes[i]);
    list->names = mem_need(realloc(list->names, (list->n + 1) * sizeof(*list->names)));
    list->names[list->n++] = name;
}

static void names_of_san(struct name_list *list, X509 *cert)
{
    GENERAL_NAMES *sans = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(sans); i++) {
        const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, i);
        char ip[TLS_IP_TEXT];
        if (san->type == GEN_DNS)
            name_add(list, (const char *)ASN1_STRING_get0_data(san->d.dNSName),
                     (size_t)ASN1_STRING_length(san->d.dNSName));
        else if (san->type == GEN_IPADD && tls_ip_text(san->d.iPAddress, ip))
            name_add(list, ip, strlen(ip));
    }
    GENERAL_NAMES_free(sans);
}

static void names_of_cn(struct name_list *list, X509 *cert)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    if (at < 0)
        return;
    int len =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (len > 0)
        name_add(list, (const char *)text, (size_t)len);
    OPENSSL_free(text);
}

static void pair_describe(struct tls_pair *pair, X509 *cert, const EVP_PKEY *key)
{
    struct name_list list = {NULL, 0};
    names_of_san(&list, cert);
    if (list.n == 0)
        names_of_cn(&list, cert);
    pair->info.names = (const char *const *)list.names;
    pair->info.n_names = list.n;
    pair->info.not_before = tls_unix_time(X509_get0_notBefore(cert));
    pair->info.not_after = tls_unix_time(X509_get0_notAfter(cert));
    const char *type = EVP_PKEY_get0_type_name(key);
    pair->info.key_type = mem_need(strdup(type != NULL ? type : "?"));
}

static void pair_clear(struct tls_pair *pair)
{
    for (size_t i = 0; i < pair->n_chain; i++)
        tls_der_clear(&pair->chain[i]);
    free(pair->chain);
    tls_der_clear(&pair->key);
    tls_der_clear(&pair->staple);
    for (size_t i = 0; i < pair->info.n_names; i++)
        free((char *)(uintptr_t)pair->info.names[i]);
    free((void *)(uintptr_t)pair->info.names);
    free((char *)(uintptr_t)pair->info.cert_file);
    free((char *)(uintptr_t)pair->info.key_file);
    free((char *)(uintptr_t)pair->info.key_type);
}

/* ---- one pair ---- */

static bool read_chain(struct tls_pair *pair, const struct tls_pem *pem, char **error)
{
    struct tls_file text;
    STACK_OF(X509) *certs = NULL;
    bool ok = tls_file_read(&text, pem, error) &&
              (certs = tls_pem_certs(&text, pem->name, error)) != NULL;
    int n = ok ? sk_X509_num(certs) : 0;
    pair->chain = mem_need(calloc((size_t)n + 1, sizeof(*pair->chain)));
    for (int i = 0; ok && i < n; i++) {
        ok = tls_der_of_x509(&pair->chain[i], sk_X509_value(certs, i));
        if (!ok)
            tls_fail(error, true, "%s: a certificate cannot be kept", pem->name);
        pair->n_chain++;
    }
    sk_X509_pop_free(certs, X509_free);
    tls_file_clear(&text);
    return ok && pair->n_chain > 0;
}

/* Nobody is there to type it. */
static int no_passphrase(char *to, int size, int writes, void *asked)
{
    (void)to, (void)size, (void)writes;
    *(bool *)asked = true;
    return -1;
}

static EVP_PKEY *read_key(const struct tls_pem *pem, char **error)
{
    struct tls_file text;
    bool asked = false;
    EVP_PKEY *key = NULL;
    if (tls_file_read(&text, pem, error)) {
        BIO *bio = BIO_new_mem_buf(text.bytes, (int)text.len);
        if (bio != NULL)
            key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
        BIO_free(bio);
        if (key == NULL && asked)
            tls_fail(error, false, "%s: the key is protected by a passphrase", pem->name);
        else if (key == NULL)
            tls_fail(error, true, "%s: no private key in PEM can be read", pem->name);
    }
    ERR_clear_error();
    tls_file_clear(&text);
    return key;
}

/* What a Certificate message takes around each of its certificates, and as a whole. */
#define CERT_FRAME  5
#define CHAIN_FRAME 4
/* OpenSSL refuses what is longer, on either side, unless it was told otherwise. */
#define CHAIN_MOST (100 * 1024)

static bool check_size(const struct tls_pair *pair, char **error)
{
    size_t n = CHAIN_FRAME;
    for (size_t i = 0; i < pair->n_chain; i++)
        n += CERT_FRAME + pair->chain[i].len;
    if (n <= CHAIN_MOST)
        return true;
    tls_fail(error, false,
             "%s: the chain takes %zu bytes in a handshake, and peers take %d at most",
             pair->info.cert_file, n, CHAIN_MOST);
    return false;
}

static bool check_dates(const struct tls_pair *pair, char **error)
{
    int64_t now = time(NULL);
    bool early = now<pair->info.not_before, late = now> pair->info.not_after;
    time_t when = early ? pair->info.not_before : pair->info.not_after;
    char date[32];
    struct tm tm;
    if (!early && !late)
        return true;
    strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&when, &tm));
    tls_fail(error, false,
             early ? "%s: the certificate is not valid before %s"
                   : "%s: the certificate expired on %s",
             pair->info.cert_file, date);
    return false;
}

static bool check_key(struct tls_pair *pair, X509 *cert, const EVP_PKEY *key, char **error)
{
    unsigned char *bytes = NULL;
    if (X509_check_private_key(cert, key) != 1) {
        tls_fail(error, false, "%s: the key does not belong to the certificate %s",
                 pair->info.key_file, pair->info.cert_file);
        return false;
    }
    int len = i2d_PrivateKey(key, &bytes);
    if (der_set(&pair->key, bytes, len))
        return true;
    tls_fail(error, true, "%s: the key cannot be kept", pair->info.key_file);
    return false;
}

static bool pair_read(struct tls_pair *pair, const struct tls_pem *chain,
                      const struct tls_pem *secret, char **error)
{
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    *pair = (struct tls_pair){.info = {.cert_file = mem_need(strdup(chain->name)),
                                       .key_file = mem_need(strdup(secret->name))}};
    bool ok = read_chain(pair, chain, error) && (key = read_key(secret, error)) != NULL;
    if (ok && (cert = tls_der_x509(&pair->chain[0])) == NULL) {
        tls_fail(error, true, "%s", chain->name);
        ok = false;
    }
    if (ok) {
        pair_describe(pair, cert, key);
        ok = check_key(pair, cert, key, error) && check_dates(pair, error) &&
             check_size(pair, error);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    if (!ok)
        pair_clear(pair);
    return ok;
}

static bool certs_add_pem(struct tls_certs *certs, const struct tls_pem *chain,
                          const struct tls_pem *secret, char **error)
{
    certs->pairs = mem_need(realloc(certs->pairs, (certs->n + 1) * sizeof(*certs->pairs)));
    if (!pair_read(&certs->pairs[certs->n], chain, secret, error))
        return false;
    certs->n++;
    return true;
}

static bool certs_add(struct tls_certs *certs, const char *cert_file, const char *key_file,
                      char **error)
{
    const struct tls_pem chain = {.name = cert_file}, secret = {.name = key_file};
    return certs_add_pem(certs, &chain, &secret, error);
}

/* ---- which files ---- */

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static char *join(const char *front, size_t n, const char *back)
{
    char *whole = NULL;
    if (asprintf(&whole, "%.*s%s", (int)n, front, back) < 0)
        mem_out();
    return whole;
}

/* The front of path with another end, if there is such a file; else NULL. */
static char *beside(const char *path, size_t n, const char *end)
{
    char *other = join(path, n, end);
    if (is_file(other))
        return other;
    free(other);
    return NULL;
}

/* Does the file hold a certificate and its key? What cannot be read holds nothing. */
static bool holds_both(const char *path)
{
    const struct tls_pem pem = {.name = path};
    struct tls_file text;
    char *error = NULL;
    bool both = tls_file_read(&text, &pem, &error) &&
                strstr(text.bytes, "-----BEGIN CERTIFICATE-----") != NULL &&
                strstr(text.bytes, "PRIVATE KEY-----") != NULL;
    tls_file_clear(&text);
    free(error);
    return both;
}

/* The file with the key of a certificate; NULL if there is none. */
static char *key_for(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    char *key = NULL;
    if (strcmp(base, "fullchain.pem") == 0)
        key = beside(path, (size_t)(base - path), "privkey.pem");
    if (key == NULL && dot != NULL)
        key = beside(path, (size_t)(dot - path), ".key");
    if (key == NULL)
        key = beside(path, strlen(path), ".key");
    if (key == NULL && holds_both(path))
        key = join(path, strlen(path), "");
    return key;
}

static bool add_file(struct tls_certs *certs, const char *path, bool needed, char **error)
{
    char *key = key_for(path);
    bool ok = !needed;
    if (key != NULL)
        ok = certs_add(certs, path, key, error);
    else if (needed)
        tls_fail(error, false, "%s: it has no key, neither beside it (.key) nor in it", path);
    free(key);
    return ok;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_cert_name(const struct dirent *entry)
{
    const char *name = entry->d_name;
    return name[0] != '.' && (ends_with(name, ".crt") || ends_with(name, ".pem"));
}

static bool add_directory(struct tls_certs *certs, const char *path, char **error)
{
    struct dirent **entries;
    size_t before = certs->n;
    int n = scandir(path, &entries, is_cert_name, by_bytes);
    if (n < 0) {
        tls_fail(error, false, "%s: %s", path, strerror(errno));
        return false;
    }
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char *file = join(path, strlen(path), ends_with(path, "/") ? "" : "/");
        char *whole = join(file, strlen(file), entries[i]->d_name);
        ok = ok && (!is_file(whole) || add_file(certs, whole, false, error));
        free(whole);
        free(file);
        free(entries[i]);
    }
    free(entries);
    if (ok && certs->n == before) {
        tls_fail(error, false, "%s: no certificate with a key is in this directory", path);
        return false;
    }
    return ok;
}

static bool add_path(struct tls_certs *certs, const char *path, char **error)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        tls_fail(error, false, "%s: %s", path, strerror(errno));
        return false;
    }
    return S_ISDIR(st.st_mode) ? add_directory(certs, path, error)
                               : add_file(certs, path, true, error);
}

/* ---- the set ---- */

static struct tls_certs *certs_new(void)
{
    struct tls_certs *certs = mem_need(calloc(1, sizeof(*certs)));
    atomic_init(&certs->refs, 1);
    return certs;
}

struct tls_certs *tls_certs_load(const char *const *paths, size_t n, char **error)
{
    struct tls_certs *certs = certs_new();
    for (size_t i = 0; i < n; i++) {
        if (!add_path(certs, paths[i], error)) {
            tls_certs_unref(certs);
            return NULL;
        }
    }
    if (certs->n > 0)
        return certs;
    tls_fail(error, false, "no certificate is given");
    tls_certs_unref(certs);
    return NULL;
}

struct tls_certs *tls_certs_load_pair(const char *cert, const char *key, char **error)
{
    struct tls_certs *certs = certs_new();
    if (certs_add(certs, cert, key != NULL ? key : cert, error))
        return certs;
    tls_certs_unref(certs);
    return NULL;
}

struct tls_certs *tls_certs_parse(struct span cert, const char *cert_name, struct span key,
                                  const char *key_name, char **error)
{
    const struct tls_pem chain = {cert_name, cert}, secret = {key_name, key};
    struct tls_certs *certs = certs_new();
    if (certs_add_pem(certs, &chain, &secret, error))
        return certs;
    tls_certs_unref(certs);
    return NULL;
}

struct tls_certs *tls_certs_ref(struct tls_certs *certs)
{
    atomic_fetch_add_explicit(&certs->refs, 1, memory_order_relaxed);
    return certs;
}

void tls_certs_unref(struct tls_certs *certs)
{
    if (certs == NULL || atomic_fetch_sub_explicit(&certs->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < certs->n; i++)
        pair_clear(&certs->pairs[i]);
    free(certs->pairs);
    free(certs);
}

size_t tls_certs_count(const struct tls_certs *certs)
{
    return certs->n;
}

const struct tls_cert_info *tls_certs_at(const struct tls_certs *certs, size_t i)
{
    return &tls_certs_pair(certs, i)->info;
}

const struct tls_pair *tls_certs_pair(const struct tls_certs *certs, size_t i)
{
    CHECK(i < certs->n);
    return &certs->pairs[i];
}

struct tls_pair *tls_certs_edit(struct tls_certs *certs, size_t i)
{
    CHECK(i < certs->n && atomic_load_explicit(&certs->refs, memory_order_relaxed) == 1);
    return &certs->pairs[i];
}

int64_t tls_certs_expiry(const struct tls_certs *certs)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < certs->n; i++)
        if (certs->pairs[i].info.not_after < first)
            first = certs->pairs[i].info.not_after;
    return first;
}
