/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts towards clients: which certificate for which name, tickets, client certificates. Owns
 * the SSL_CTX of each site; must never touch a file. One worker's.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* see set_mac */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_ssl.h"

#define SITE_PAIRS   4    /* one for each type of key */
#define SESSIONS     4096 /* of TLS 1.2 clients without tickets */
#define SESSION_TTL  (2 * 3600)
#define NAME_MAX_DNS 255

/* Pairs of different key types for the same name, in one SSL_CTX; the client's lists decide. */
struct site {
    SSL_CTX *ssl;
    size_t pairs[SITE_PAIRS];
    size_t n;
    size_t before; /* see site_add */
};

struct site_name {
    const char *name; /* the certs' */
    size_t site;
};

struct tls_server_ctx {
    struct tls_ctx base; /* its ssl is the default site's */
    struct tls_certs *certs;
    struct tls_tickets *tickets;
    struct tls_ticket_keys keys;
    EVP_CIPHER *aes;
    EVP_MD *sha256;
    unsigned char session_id[TLS_DIGEST_BYTES];
    uint8_t alpn;
    struct site *sites; /* the default first */
    size_t n_sites;
    struct site_name *names; /* sorted */
    size_t n_names;
};

static struct tls_server_ctx *server_of(struct tls_ctx *ctx)
{
    return CONTAINER_OF(ctx, tls_server_ctx, base);
}

static struct tls_server_ctx *server_of_ssl(const SSL *ssl)
{
    return server_of(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

struct tls_ctx *tls_server_ctx_base(struct tls_server_ctx *ctx)
{
    return ctx != NULL ? &ctx->base : NULL;
}

/* ---- which certificate ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct site_name *)a)->name, ((const struct site_name *)b)->name);
}

static const struct site *find_name(const struct tls_server_ctx *ctx, const char *name)
{
    struct site_name key = {name, 0}, *found = NULL;
    if (ctx->n_names > 0)
        found = bsearch(&key, ctx->names, ctx->n_names, sizeof(key), by_name);
    return found != NULL ? &ctx->sites[found->site] : NULL;
}

/* Of len bytes, into NAME_MAX_DNS + 1: lower case, without a dot at the end. Its length; 0: it is
 * none. */
static size_t plain_name(const char *sni, size_t len, char *name)
{
    if (len > 0 && sni[len - 1] == '.')
        len--;
    if (len > NAME_MAX_DNS)
        len = 0;
    for (size_t i = 0; i < len; i++)
        name[i] = ascii_lower(sni[i]);
    name[len] = '\0';
    return len;
}

/* Exact, or else with "*" for the first label, as certificates have it. */
static const struct site *find_site(const struct tls_server_ctx *ctx, const char *sni)
{
    char name[NAME_MAX_DNS + 1];
    if (plain_name(sni, strlen(sni), name) == 0)
        return NULL;
    const struct site *site = find_name(ctx, name);
    char *dot = strchr(name, '.');
    if (site != NULL || dot == NULL || dot == name)
        return site;
    dot[-1] = '*';
    return find_name(ctx, dot - 1);
}

static int on_sni(SSL *ssl, int *alert, void *arg)
{
    struct tls_server_ctx *ctx = server_of(arg);
    const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct site *site = sni != NULL ? find_site(ctx, sni) : NULL;
    (void)alert;
    if (site == NULL)
        return SSL_TLSEXT_ERR_NOACK; /* the default's */
    if (site->ssl != SSL_get_SSL_CTX(ssl) && SSL_set_SSL_CTX(ssl, site->ssl) == NULL)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static bool same_cert(const struct tls_pair *pair, const X509 *cert)
{
    unsigned char *bytes = NULL;
    int len = i2d_X509(cert, &bytes);
    bool same = len > 0 && (size_t)len == pair->chain[0].len &&
                memcmp(bytes, pair->chain[0].bytes, pair->chain[0].len) == 0;
    OPENSSL_free(bytes);
    return same;
}

/* The pair whose certificate is about to be shown, if there is something to staple to it. */
static const struct tls_pair *stapled(const struct tls_server_ctx *ctx, const SSL *ssl)
{
    const X509 *cert = SSL_get_certificate(ssl);
    for (size_t i = 0; cert != NULL && i < tls_certs_count(ctx->certs); i++) {
        const struct tls_pair *pair = tls_certs_pair(ctx->certs, i);
        if (pair->staple.bytes != NULL && pair->staple_until > time(NULL) && same_cert(pair, cert))
            return pair;
    }
    return NULL;
}

static int on_status(SSL *ssl, void *arg)
{
    const struct tls_pair *pair = stapled(server_of_ssl(ssl), ssl);
    unsigned char *copy; /* OpenSSL frees it */
    (void)arg;
    if (pair == NULL || (copy = OPENSSL_memdup(pair->staple.bytes, pair->staple.len)) == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)pair->staple.len);
    return SSL_TLSEXT_ERR_OK;
}

/* ---- whose sessions ---- */

/* A session is good only under the rules for client certificates it was made under. */
static void make_session_id(struct tls_server_ctx *ctx, const struct tls_server_options *options)
{
    unsigned char id[TLS_DIGEST_BYTES] = "weir";
    if (options->client_ca != NULL)
        memcpy(id, tls_trust_digest(options->client_ca), sizeof(id));
    if (options->client_optional)
        id[0] ^= 1;
    memcpy(ctx->session_id, id, sizeof(id));
}

/* The name of a ClientHello, as plain_name has it: a list with one entry of type 0. */
static size_t hello_name(SSL *ssl, char *name)
{
    const unsigned char *ext;
    size_t len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &len) != 1 || len < 5 ||
        ext[2] != TLSEXT_NAMETYPE_host_name || len - 5 < (size_t)(ext[3] << 8 | ext[4]))
        return 0;
    return plain_name((const char *)ext + 5, (size_t)(ext[3] << 8 | ext[4]), name);
}

/* ... and only for the name it was made for (RFC 6066 section 3). Sessions are looked for before
 * on_sni, so this is the place to tell them apart, by ticket or not. */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
    struct tls_server_ctx *ctx = server_of(arg);
    unsigned char text[TLS_DIGEST_BYTES + NAME_MAX_DNS + 1], id[EVP_MAX_MD_SIZE];
    size_t len = hello_name(ssl, (char *)text + TLS_DIGEST_BYTES);
    unsigned id_len;
    if (len == 0)
        return SSL_CLIENT_HELLO_SUCCESS;
    memcpy(text, ctx->session_id, TLS_DIGEST_BYTES);
    if (EVP_Digest(text, TLS_DIGEST_BYTES + len, id, &id_len, ctx->sha256, NULL) == 1 &&
        SSL_set_session_id_context(ssl, id, id_len) == 1)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* ---- which protocol ---- */

static const unsigned char *find_protocol(const unsigned char *in, unsigned len, const char *name)
{
    size_t n = strlen(name);
    for (unsigned at = 0; at < len; at += 1U + in[at])
        if (in[at] == n && at + 1 + n <= len && memcmp(in + at + 1, name, n) == 0)
            return in + at;
    return NULL;
}

uint8_t tls_server_ctx_alpn(const struct tls_server_ctx *ctx)
{
    return ctx->alpn;
}

/* A list without any of ours is refused (RFC 7301 section 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned len, void *arg)
{
    const struct tls_server_ctx *ctx = server_of_ssl(ssl);
    const unsigned char *at = NULL;
    (void)arg;
    if (ctx->alpn & TLS_ALPN_H2)
        at = find_protocol(in, len, "h2");
    if (at == NULL && ctx->alpn & TLS_ALPN_H1)
        at = find_protocol(in, len, "http/1.1");
    if (at == NULL && ctx->alpn & TLS_ALPN_H1)
        at = find_protocol(in, len, "http/1.0");
    if (at == NULL)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out_len = at[0];
    *out = at + 1;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- tickets ---- */

/* By OpenSSL 1.1's HMAC_CTX, the one way to hand over a digest that is there already: EVP_MAC takes
 * it by name alone, and it would be looked up for each ticket, 1.5% of a resumed handshake. */
static bool set_mac(const struct tls_server_ctx *ctx, HMAC_CTX *mac,
                    const struct tls_ticket_key *key)
{
    return HMAC_Init_ex(mac, key->hmac, sizeof(key->hmac), ctx->sha256, NULL) == 1;
}

static int seal(struct tls_server_ctx *ctx, unsigned char *name, unsigned char *iv,
                EVP_CIPHER_CTX *cipher, HMAC_CTX *mac)
{
    struct tls_ticket_key *key = &ctx->keys.now;
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(ctx->aes)) != 1)
        return -1;
    memcpy(name, key->name, sizeof(key->name));
    return EVP_EncryptInit_ex2(cipher, ctx->aes, key->aes, iv, NULL) == 1 && set_mac(ctx, mac, key)
               ? 1
               : -1;
}

/* 1: good; 2: good, and a new one is due; 0: not one of ours. */
static int unseal(struct tls_server_ctx *ctx, const unsigned char *name, const unsigned char *iv,
                  EVP_CIPHER_CTX *cipher, HMAC_CTX *mac)
{
    struct tls_ticket_key *key = &ctx->keys.now;
    int how = 1;
    if (CRYPTO_memcmp(name, key->name, sizeof(key->name)) != 0) {
        key = &ctx->keys.before;
        how = 2;
        if (CRYPTO_memcmp(name, key->name, sizeof(key->name)) != 0)
            return 0;
    }
    return EVP_DecryptInit_ex2(cipher, ctx->aes, key->aes, iv, NULL) == 1 && set_mac(ctx, mac, key)
               ? how
               : -1;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     HMAC_CTX *mac, int encrypt)
{
    struct tls_server_ctx *ctx = server_of_ssl(ssl);
    tls_tickets_get(ctx->tickets, time(NULL), &ctx->keys);
    return encrypt ? seal(ctx, name, iv, cipher, mac) : unseal(ctx, name, iv, cipher, mac);
}

/* ---- making one ---- */

static bool set_clients(SSL_CTX *ssl, const struct tls_server_options *options)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    if (names == NULL || !tls_trust_fill(options->client_ca, SSL_CTX_get_cert_store(ssl), names)) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return false;
    }
    SSL_CTX_set_client_CA_list(ssl, names); /* takes it over */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(
        ssl, SSL_VERIFY_PEER | (options->client_optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT),
        NULL);
    return true;
}

static bool set_sessions(struct tls_server_ctx *ctx, SSL_CTX *ssl,
                         const struct tls_server_options *options)
{
    SSL_CTX_set_client_hello_cb(ssl, on_hello, &ctx->base);
    if (SSL_CTX_set_session_id_context(ssl, ctx->session_id, sizeof(ctx->session_id)) != 1)
        return false;
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
    SSL_CTX_sess_set_cache_size(ssl, SESSIONS);
    SSL_CTX_set_timeout(ssl, SESSION_TTL);
    if (options->tickets == NULL) {
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        return true;
    }
    /* OpenSSL would send two in TLS 1.3; one more costs 6% of a handshake, and a client with
     * several conns has one of each. */
    return SSL_CTX_set_num_tickets(ssl, 1) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_cb(ssl, on_ticket) == 1;
}

static bool site_make(struct tls_server_ctx *ctx, struct site *site,
                      const struct tls_server_options *options, char **error)
{
    SSL_CTX *ssl = tls_ssl_ctx_new(TLS_server_method(), options->tls13_only, &ctx->base);
    site->ssl = ssl;
    if (ssl == NULL || !set_sessions(ctx, ssl, options) ||
        (options->client_ca != NULL && !set_clients(ssl, options)))
        return false;
    SSL_CTX_set_tlsext_servername_callback(ssl, on_sni);
    SSL_CTX_set_tlsext_servername_arg(ssl, &ctx->base);
    SSL_CTX_set_tlsext_status_cb(ssl, on_status);
    if (ctx->alpn != 0)
        SSL_CTX_set_alpn_select_cb(ssl, on_alpn, NULL);
    for (size_t i = 0; i < site->n; i++)
        if (!tls_use_pair(ssl, tls_certs_pair(ctx->certs, site->pairs[i]), error))
            return false;
    return true;
}

static bool has_type(const struct tls_server_ctx *ctx, const struct site *site, const char *type)
{
    for (size_t i = 0; i < site->n; i++)
        if (strcmp(tls_certs_pair(ctx->certs, site->pairs[i])->info.key_type, type) == 0)
            return true;
    return false;
}

/* A name, and one of the pairs that have it. */
struct claim {
    const char *name;
    size_t pair;
};

static int by_claim(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->pair > y->pair) - (x->pair < y->pair);
}

/* All of them, sorted. */
static struct claim *claims_of(const struct tls_certs *certs, size_t *n)
{
    size_t most = 0;
    for (size_t i = 0; i < tls_certs_count(certs); i++)
        most += tls_certs_at(certs, i)->n_names;
    struct claim *claims = mem_need(calloc(most + 1, sizeof(*claims)));
    *n = 0;
    for (size_t i = 0; i < tls_certs_count(certs); i++)
        for (size_t j = 0; j < tls_certs_at(certs, i)->n_names; j++)
            claims[(*n)++] = (struct claim){tls_certs_at(certs, i)->names[j], i};
    qsort(claims, *n, sizeof(*claims), by_claim);
    return claims;
}

static size_t claims_alike(const struct claim *claims, size_t n)
{
    size_t alike = 1;
    while (alike < n && strcmp(claims[alike].name, claims[0].name) == 0)
        alike++;
    return alike;
}

/* Of n claims to one name: the first pair, and the first of each other type. */
static struct site site_of(const struct tls_server_ctx *ctx, const struct claim *claims, size_t n)
{
    struct site site = {.pairs = {claims[0].pair}, .n = 1};
    for (size_t i = 1; i < n && site.n < SITE_PAIRS; i++)
        if (!has_type(ctx, &site, tls_certs_at(ctx->certs, claims[i].pair)->key_type))
            site.pairs[site.n++] = claims[i].pair;
    return site;
}

/* The index of an equal site, or of this one, which is new then. Those with the same first pair are
 * linked: latest[pair] is the index behind the latest of them. */
static size_t site_add(struct tls_server_ctx *ctx, size_t *latest, const struct site *site)
{
    size_t *from = &latest[site->pairs[0]];
    for (size_t i = *from; i != 0; i = ctx->sites[i - 1].before) {
        const struct site *old = &ctx->sites[i - 1];
        if (old->n == site->n &&
            memcmp(old->pairs, site->pairs, site->n * sizeof(site->pairs[0])) == 0)
            return i - 1;
    }
    ctx->sites = mem_need(realloc(ctx->sites, (ctx->n_sites + 1) * sizeof(*site)));
    ctx->sites[ctx->n_sites] = *site;
    ctx->sites[ctx->n_sites].before = *from;
    *from = ++ctx->n_sites;
    return ctx->n_sites - 1;
}

/* The default's is that of the first name of the first pair. */
static struct site default_site(const struct tls_server_ctx *ctx, const struct claim *claims,
                                size_t n)
{
    const struct tls_cert_info *info = tls_certs_at(ctx->certs, 0);
    for (size_t i = 0; i < n; i++)
        if (info->n_names > 0 && strcmp(claims[i].name, info->names[0]) == 0)
            return site_of(ctx, claims + i, claims_alike(claims + i, n - i));
    return (struct site){.n = 1}; /* it has no name */
}

static void plan_sites(struct tls_server_ctx *ctx)
{
    size_t n, alike;
    struct claim *claims = claims_of(ctx->certs, &n);
    size_t *latest = mem_need(calloc(tls_certs_count(ctx->certs), sizeof(*latest)));
    ctx->names = mem_need(calloc(n + 1, sizeof(*ctx->names)));
    struct site site = default_site(ctx, claims, n);
    site_add(ctx, latest, &site);
    for (size_t i = 0; i < n; i += alike) {
        alike = claims_alike(claims + i, n - i);
        site = site_of(ctx, claims + i, alike);
        ctx->names[ctx->n_names++] =
            (struct site_name){claims[i].name, site_add(ctx, latest, &site)};
    }
    free(latest);
    free(claims);
}

static void server_free(struct tls_ctx *base)
{
    struct tls_server_ctx *ctx = server_of(base);
    base->ssl = NULL; /* a site's */
    for (size_t i = 0; i < ctx->n_sites; i++)
        SSL_CTX_free(ctx->sites[i].ssl);
    free(ctx->sites);
    free(ctx->names);
    EVP_CIPHER_free(ctx->aes);
    EVP_MD_free(ctx->sha256);
    tls_tickets_unref(ctx->tickets);
    tls_certs_unref(ctx->certs);
    tls_ctx_clear(base);
    OPENSSL_cleanse(&ctx->keys, sizeof(ctx->keys));
    free(ctx);
}

void tls_server_ctx_free(struct tls_server_ctx *ctx)
{
    tls_ctx_unref(tls_server_ctx_base(ctx));
}

struct tls_server_ctx *tls_server_ctx_of(struct tls_ctx *ctx)
{
    CHECK(ctx->free == server_free);
    return server_of(ctx);
}

struct tls_server_ctx *tls_server_ctx_new(const struct tls_server_options *options,
                                          struct tls_certs *certs, char **error)
{
    struct tls_server_ctx *ctx = mem_need(calloc(1, sizeof(*ctx)));
    *error = NULL;
    tls_ctx_keylog(&ctx->base, options->keylog_fd);
    ctx->certs = tls_certs_ref(certs);
    ctx->alpn = options->alpn;
    if (options->tickets != NULL)
        ctx->tickets = tls_tickets_ref(options->tickets);
    bool ok = tls_ctx_init(&ctx->base, server_free) &&
              (ctx->aes = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL)) != NULL &&
              (ctx->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL)) != NULL;
    make_session_id(ctx, options);
    plan_sites(ctx);
    for (size_t i = 0; ok && i < ctx->n_sites; i++)
        ok = site_make(ctx, &ctx->sites[i], options, error);
    ctx->base.ssl = ctx->sites[0].ssl;
    if (ok)
        return ctx;
    if (*error == NULL)
        tls_fail(error, true, "TLS cannot be set up");
    tls_server_ctx_free(ctx);
    return NULL;
}
