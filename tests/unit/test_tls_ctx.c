/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts of TLS: names, protocols, what is stapled, lifetime and logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/ssl.h>

#include "proxy/base/check.h"
#include "proxy/net/tls_ssl.h"
#include "tests/unit/tls_meet.h"

/* ---- names ---- */

static void the_name_chooses_the_certificate(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"a.crt", "wild.crt", "exact.crt"};
    static const struct {
        const char *sni, *expect; /* which the certificate must be for */
    } cases[] = {
        {"a.example", "a.example"},
        {"WWW.A.Example", "www.a.example"},
        {"x.b.example", "x.b.example"},
        {"y.b.example", "y.b.example"},
    };
    tls_meet_server(f, names, 3);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->co.server_name = cases[i].sni;
        tls_meet_client(f);
        tls_meet(f);
        tls_meet_up(f);
    }
}

/* The one that is first is shown for a name that nobody has, and for none. */
static void an_unknown_name_gets_the_default(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"a.crt", "wild.crt"};
    static const char *const unknown[] = {"nobody.example", "b.example", "p.q.b.example", "*"};
    tls_meet_server(f, names, 2);
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        f->co.server_name = unknown[i];
        tls_meet_client(f);
        tls_meet(f);
        tls_meet_refused(f, "hostname mismatch");
        f->co.no_verify = true;
        tls_meet_client(f);
        tls_meet(f);
        tls_meet_up(f);
        f->co.no_verify = false;
    }
}

static void two_types_of_keys_serve_one_name(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"a-rsa.crt", "a.crt"};
    tls_meet_server(f, names, 2);
    static const struct {
        const char *sigalgs;
        int type;
    } cases[] = {{"ECDSA+SHA256", EVP_PKEY_EC}, {"RSA-PSS+SHA256", EVP_PKEY_RSA}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        tls_meet_client(f);
        SSL_CTX_set1_sigalgs_list(tls_client_ctx_base(f->client)->ssl, cases[i].sigalgs);
        tls_meet(f);
        tls_meet_up(f);
        X509 *cert = SSL_get0_peer_certificate(tls_ssl_of(f->e.client.conn.transport));
        assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(cert)), cases[i].type);
    }
}

static long long serial_shown(struct tls_meeting *f)
{
    X509 *cert = SSL_get0_peer_certificate(tls_ssl_of(f->e.client.conn.transport));
    int64_t serial = 0;
    assert_int_equal(ASN1_INTEGER_get_int64(&serial, X509_get0_serialNumber(cert)), 1);
    return serial;
}

static long long serial_of(const char *name)
{
    struct tls_certs *certs = tls_meet_certs(&name, 1);
    X509 *cert = tls_der_x509(&tls_certs_pair(certs, 0)->chain[0]);
    int64_t serial = 0;
    assert_int_equal(ASN1_INTEGER_get_int64(&serial, X509_get0_serialNumber(cert)), 1);
    X509_free(cert);
    tls_certs_unref(certs);
    return serial;
}

/* Of each type of key the first that has the name, wherever else it may be. */
static void the_first_that_has_a_name_serves_it(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"exact.crt", "more.crt", "more-rsa.crt", "a.crt",
                                        "a-rsa.crt"};
    static const struct {
        const char *sni, *sigalgs, *expect;
    } cases[] = {
        {"x.b.example", "ECDSA+SHA256", "exact.crt"},    {"z.example", "ECDSA+SHA256", "more.crt"},
        {"z.example", "RSA-PSS+SHA256", "more-rsa.crt"}, {"a.example", "ECDSA+SHA256", "a.crt"},
        {"a.example", "RSA-PSS+SHA256", "more-rsa.crt"}, {"www.a.example", "ECDSA+SHA256", "a.crt"},
    };
    tls_meet_server(f, names, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->co.server_name = cases[i].sni;
        tls_meet_client(f);
        SSL_CTX_set1_sigalgs_list(tls_client_ctx_base(f->client)->ssl, cases[i].sigalgs);
        tls_meet(f);
        tls_meet_up(f);
        assert_true(serial_shown(f) == serial_of(cases[i].expect));
    }
}

/* ---- protocols ---- */

static void alpn_is_what_both_speak(void **state)
{
    struct tls_meeting *f = *state;
    static const struct {
        uint8_t server, client;
        const char *agreed; /* NULL: refused */
    } cases[] = {
        {TLS_ALPN_H1 | TLS_ALPN_H2, TLS_ALPN_H1 | TLS_ALPN_H2, "h2"},
        {TLS_ALPN_H1 | TLS_ALPN_H2, TLS_ALPN_H1, "http/1.1"},
        {TLS_ALPN_H1, TLS_ALPN_H1 | TLS_ALPN_H2, "http/1.1"},
        {TLS_ALPN_H1 | TLS_ALPN_H2, 0, ""},
        {0, TLS_ALPN_H1 | TLS_ALPN_H2, ""},
        {TLS_ALPN_H1, TLS_ALPN_H2, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->so.alpn = cases[i].server;
        f->co.alpn = cases[i].client;
        tls_meet_drop(f);
        tls_meet_both(f, "a.crt");
        if (cases[i].agreed == NULL) {
            tls_meet_refused(f, "tlsv1 alert no application protocol");
            continue;
        }
        tls_meet_up(f);
        assert_true(span_eq(tls_at_server(f)->alpn, span_str(cases[i].agreed)));
        assert_true(span_eq(tls_at_client(f)->alpn, span_str(cases[i].agreed)));
    }
}

static void http_1_0_is_spoken_too(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"a.crt"};
    tls_meet_server(f, names, 1);
    tls_meet_client(f);
    SSL_CTX_set_alpn_protos(tls_client_ctx_base(f->client)->ssl,
                            (const unsigned char *)"\10http/1.0", 9);
    tls_meet(f);
    tls_meet_up(f);
    assert_true(span_eq(tls_at_server(f)->alpn, SPAN_LIT("http/1.0")));
}

static void older_versions_are_refused(void **state)
{
    struct tls_meeting *f = *state;
    static const struct {
        int version;
        bool tls13_only, fine;
    } cases[] = {{TLS1_3_VERSION, false, true},
                 {TLS1_2_VERSION, false, true},
                 {TLS1_3_VERSION, true, true},
                 {TLS1_2_VERSION, true, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        tls_meet_drop(f);
        f->so.tls13_only = cases[i].tls13_only;
        tls_meet_client(f);
        SSL_CTX_set_max_proto_version(tls_client_ctx_base(f->client)->ssl, cases[i].version);
        tls_meet_both(f, "a.crt");
        assert_int_equal(tls_end_up(&f->e.server), cases[i].fine);
        if (cases[i].fine)
            assert_string_equal(tls_at_server(f)->protocol,
                                cases[i].version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
    }
}

/* ---- lifetime and logs ---- */

static void conns_outlive_their_context(void **state)
{
    struct tls_meeting *f = *state;
    tls_meet_both(f, "a.crt");
    tls_server_ctx_free(TAKE(f->server));
    tls_client_ctx_free(TAKE(f->client));
    tls_end_say(&f->e, &f->e.client, "hello", 5, 5);
    assert_int_equal(f->e.server.got_len, 5);
}

static void keys_are_logged_if_that_is_asked_for(void **state)
{
    struct tls_meeting *f = *state;
    char text[4096];
    FILE *log = tmpfile();
    f->so.keylog_fd = fileno(log);
    tls_meet_both(f, "a.crt");
    rewind(log);
    size_t n = fread(text, 1, sizeof(text) - 1, log);
    text[n] = '\0';
    assert_non_null(strstr(text, "CLIENT_TRAFFIC_SECRET_0 "));
    assert_int_equal(text[n - 1], '\n');
    fclose(log);
}

/* Each worker makes a context of the same certificates, and OpenSSL counts, locks and caches in
 * these: two of them share nothing that is written to. */
static void contexts_of_the_same_certificates_share_no_object(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"a.crt"};
    struct tls_certs *certs = tls_meet_certs(names, 1);
    struct tls_server_ctx *ctx[2];
    SSL_CTX *ssl[2];
    f->so.client_ca = f->ca;
    for (int i = 0; i < 2; i++) {
        ctx[i] = tls_server_ctx_new(&f->so, certs, &f->error);
        assert_non_null(ctx[i]);
        ssl[i] = tls_server_ctx_base(ctx[i])->ssl;
    }
    assert_ptr_not_equal(ssl[0], ssl[1]);
    assert_ptr_not_equal(SSL_CTX_get0_certificate(ssl[0]), SSL_CTX_get0_certificate(ssl[1]));
    assert_ptr_not_equal(SSL_CTX_get0_privatekey(ssl[0]), SSL_CTX_get0_privatekey(ssl[1]));
    assert_ptr_not_equal(SSL_CTX_get_cert_store(ssl[0]), SSL_CTX_get_cert_store(ssl[1]));
    X509_OBJECT *ca[2];
    for (int i = 0; i < 2; i++)
        ca[i] = sk_X509_OBJECT_value(X509_STORE_get0_objects(SSL_CTX_get_cert_store(ssl[i])), 0);
    assert_non_null(ca[0]);
    assert_ptr_not_equal(X509_OBJECT_get0_X509(ca[0]), X509_OBJECT_get0_X509(ca[1]));
    for (int i = 0; i < 2; i++)
        tls_server_ctx_free(ctx[i]);
    tls_certs_unref(certs);
}

static const unsigned char *stapled(struct tls_meeting *f, const char *ocsp, long *len)
{
    static const char *const names[] = {"a.crt"};
    struct tls_certs *certs = tls_meet_certs(names, 1);
    if (ocsp != NULL)
        assert_int_equal(tls_certs_staple(certs, cert_path(&tls_meet_maker, ocsp), &f->error), 0);
    tls_server_ctx_free(f->server);
    f->server = tls_server_ctx_new(&f->so, certs, &f->error);
    tls_certs_unref(certs);
    tls_meet_client(f);
    SSL_CTX_set_tlsext_status_type(tls_client_ctx_base(f->client)->ssl, TLSEXT_STATUSTYPE_ocsp);
    tls_meet(f);
    tls_meet_up(f);
    const unsigned char *bytes = NULL;
    *len = SSL_get_tlsext_status_ocsp_resp(tls_ssl_of(f->e.client.conn.transport), &bytes);
    return bytes;
}

static void an_ocsp_response_is_stapled(void **state)
{
    struct tls_meeting *f = *state;
    long len;
    cert_make_ocsp(&tls_meet_maker, "a.ocsp", "a", "ca", true, 5);
    assert_null(stapled(f, NULL, &len));
    assert_non_null(stapled(f, "a.ocsp", &len));
    assert_true(len > 100);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, tls_meet_setup, tls_meet_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_name_chooses_the_certificate),
        TEST(an_unknown_name_gets_the_default),
        TEST(two_types_of_keys_serve_one_name),
        TEST(the_first_that_has_a_name_serves_it),
        TEST(alpn_is_what_both_speak),
        TEST(http_1_0_is_spoken_too),
        TEST(older_versions_are_refused),
        TEST(conns_outlive_their_context),
        TEST(contexts_of_the_same_certificates_share_no_object),
        TEST(keys_are_logged_if_that_is_asked_for),
        TEST(an_ocsp_response_is_stapled),
    };
    return cmocka_run_group_tests(tests, tls_meet_setup_all, tls_meet_teardown_all);
}
