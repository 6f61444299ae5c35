/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts of TLS: names, protocols, client certificates, whom a client trusts, sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/ssl.h>

#include "proxy/base/check.h"
#include "proxy/net/addr.h"
#include "proxy/net/tls_ssl.h"
#include "tests/unit/cert_maker.h"
#include "tests/unit/tls_ends.h"

static struct cert_maker maker;

struct fixture {
    struct tls_ends e;
    struct tls_server_options so;
    struct tls_client_options co;
    struct tls_server_ctx *server;
    struct tls_client_ctx *client;
    struct tls_trust *ca, *other_ca;
    char *error;
    bool met;
};

static struct tls_certs *load(const char *const *names, size_t n)
{
    char paths[8][CERT_PATH];
    const char *list[8];
    char *error = NULL;
    for (size_t i = 0; i < n; i++) {
        snprintf(paths[i], CERT_PATH, "%s", cert_path(&maker, names[i]));
        list[i] = paths[i];
    }
    struct tls_certs *certs = tls_certs_load(list, n, &error);
    assert_null(error);
    return certs;
}

static int setup_all(void **state)
{
    (void)state;
    cert_maker_init(&maker);
    static const struct cert_spec specs[] = {
        {.file = "ca", .cn = "Test CA", .ca = true},
        {.file = "other", .cn = "Other CA", .ca = true},
        {.file = "mid", .issuer = "ca", .cn = "Mid CA", .ca = true},
        {.file = "oldmid", .issuer = "ca", .cn = "Old", .ca = true, .from_days = -9, .to_days = -1},
        {.file = "a", .issuer = "ca", .san = "DNS:a.example,DNS:www.a.example"},
        {.file = "a-rsa", .issuer = "ca", .san = "DNS:a.example", .rsa = true},
        {.file = "wild", .issuer = "ca", .san = "DNS:*.b.example"},
        {.file = "exact", .issuer = "ca", .san = "DNS:x.b.example"},
        {.file = "more", .issuer = "ca", .san = "DNS:z.example,DNS:x.b.example,DNS:z.example"},
        {.file = "more-rsa", .issuer = "ca", .san = "DNS:z.example,DNS:a.example", .rsa = true},
        {.file = "ip", .issuer = "ca", .san = "IP:127.0.0.1"},
        {.file = "leaf", .issuer = "mid", .san = "DNS:a.example"},
        {.file = "oldleaf", .issuer = "oldmid", .san = "DNS:a.example"},
        {.file = "alice",
         .issuer = "ca",
         .cn = "alice, \"x\"\r\n",
         .san = "email:alice@a.example,URI:spiffe://a/b c,DNS:alice.example,IP:10.0.0.1"},
        {.file = "eve", .issuer = "other", .cn = "eve"},
    };
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        cert_make(&maker, &specs[i]);
    cert_join(&maker, "chain.crt", "leaf.crt", "mid.crt");
    cert_join(&maker, "chain.key", "leaf.key", "leaf.key");
    cert_join(&maker, "oldchain.crt", "oldleaf.crt", "oldmid.crt");
    cert_join(&maker, "oldchain.key", "oldleaf.key", "oldleaf.key");
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    cert_maker_fini(&maker);
    return 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->ca = tls_trust_load(cert_path(&maker, "ca.crt"), &f->error);
    f->other_ca = tls_trust_load(cert_path(&maker, "other.crt"), &f->error);
    f->so.alpn = TLS_ALPN_H1 | TLS_ALPN_H2;
    f->co.alpn = TLS_ALPN_H1 | TLS_ALPN_H2;
    f->co.ca = f->ca;
    f->co.server_name = "a.example";
    *state = f;
    return 0;
}

static void part(struct fixture *f)
{
    if (f->met)
        tls_ends_fini(&f->e);
    f->met = false;
}

static void drop_contexts(struct fixture *f)
{
    part(f);
    tls_server_ctx_free(TAKE(f->server));
    tls_client_ctx_free(TAKE(f->client));
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    drop_contexts(f);
    tls_trust_free(f->ca);
    tls_trust_free(f->other_ca);
    free(f->error);
    free(f);
    return 0;
}

static void make_server(struct fixture *f, const char *const *names, size_t n)
{
    struct tls_certs *certs = load(names, n);
    tls_server_ctx_free(f->server);
    f->server = tls_server_ctx_new(&f->so, certs, &f->error);
    tls_certs_unref(certs);
    assert_non_null(f->server);
}

static void make_client(struct fixture *f)
{
    tls_client_ctx_free(f->client);
    f->client = tls_client_ctx_new(&f->co, &f->error);
    assert_non_null(f->client);
}

static void meet_at(struct fixture *f, uint32_t endpoint, const struct net_addr *to)
{
    part(f);
    tls_ends_init(&f->e, 65536);
    f->met = true;
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, f->client, endpoint, to);
    tls_ends_settle(&f->e);
}

static void meet(struct fixture *f)
{
    meet_at(f, 0, NULL);
}

static void both(struct fixture *f, const char *cert)
{
    if (f->server == NULL)
        make_server(f, &cert, 1);
    if (f->client == NULL)
        make_client(f);
    meet(f);
}

static const struct tls_info *at_server(struct fixture *f)
{
    return conn_tls(&f->e.server.conn);
}

static const struct tls_info *at_client(struct fixture *f)
{
    return conn_tls(&f->e.client.conn);
}

static void assert_up(struct fixture *f)
{
    if (at_client(f)->error != NULL)
        fail_msg("client: %s", at_client(f)->error);
    if (at_server(f)->error != NULL)
        fail_msg("server: %s", at_server(f)->error);
    assert_true(tls_end_up(&f->e.client) && tls_end_up(&f->e.server));
}

static void assert_refused(struct fixture *f, const char *why)
{
    assert_false(tls_end_up(&f->e.client));
    assert_int_equal(f->e.client.conn.error, UV_EPROTO);
    assert_string_equal(at_client(f)->error, why);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
}

/* ---- names ---- */

static void the_name_chooses_the_certificate(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a.crt", "wild.crt", "exact.crt"};
    static const struct {
        const char *sni, *expect; /* which the certificate must be for */
    } cases[] = {
        {"a.example", "a.example"},
        {"WWW.A.Example", "www.a.example"},
        {"x.b.example", "x.b.example"},
        {"y.b.example", "y.b.example"},
    };
    make_server(f, names, 3);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->co.server_name = cases[i].sni;
        make_client(f);
        meet(f);
        assert_up(f);
    }
}

/* The one that is first is shown for a name that nobody has, and for none. */
static void an_unknown_name_gets_the_default(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a.crt", "wild.crt"};
    static const char *const unknown[] = {"nobody.example", "b.example", "p.q.b.example", "*"};
    make_server(f, names, 2);
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        f->co.server_name = unknown[i];
        make_client(f);
        meet(f);
        assert_refused(f, "hostname mismatch");
        f->co.no_verify = true;
        make_client(f);
        meet(f);
        assert_up(f);
        f->co.no_verify = false;
    }
}

static void two_types_of_keys_serve_one_name(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a-rsa.crt", "a.crt"};
    make_server(f, names, 2);
    static const struct {
        const char *sigalgs;
        int type;
    } cases[] = {{"ECDSA+SHA256", EVP_PKEY_EC}, {"RSA-PSS+SHA256", EVP_PKEY_RSA}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_client(f);
        SSL_CTX_set1_sigalgs_list(tls_client_ctx_base(f->client)->ssl, cases[i].sigalgs);
        meet(f);
        assert_up(f);
        X509 *cert = SSL_get0_peer_certificate(tls_ssl_of(f->e.client.conn.transport));
        assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(cert)), cases[i].type);
    }
}

static long long serial_shown(struct fixture *f)
{
    X509 *cert = SSL_get0_peer_certificate(tls_ssl_of(f->e.client.conn.transport));
    int64_t serial = 0;
    assert_int_equal(ASN1_INTEGER_get_int64(&serial, X509_get0_serialNumber(cert)), 1);
    return serial;
}

static long long serial_of(const char *name)
{
    struct tls_certs *certs = load(&name, 1);
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
    struct fixture *f = *state;
    static const char *const names[] = {"exact.crt", "more.crt", "more-rsa.crt", "a.crt",
                                        "a-rsa.crt"};
    static const struct {
        const char *sni, *sigalgs, *expect;
    } cases[] = {
        {"x.b.example", "ECDSA+SHA256", "exact.crt"},    {"z.example", "ECDSA+SHA256", "more.crt"},
        {"z.example", "RSA-PSS+SHA256", "more-rsa.crt"}, {"a.example", "ECDSA+SHA256", "a.crt"},
        {"a.example", "RSA-PSS+SHA256", "more-rsa.crt"}, {"www.a.example", "ECDSA+SHA256", "a.crt"},
    };
    make_server(f, names, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->co.server_name = cases[i].sni;
        make_client(f);
        SSL_CTX_set1_sigalgs_list(tls_client_ctx_base(f->client)->ssl, cases[i].sigalgs);
        meet(f);
        assert_up(f);
        assert_true(serial_shown(f) == serial_of(cases[i].expect));
    }
}

/* ---- protocols ---- */

static void alpn_is_what_both_speak(void **state)
{
    struct fixture *f = *state;
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
        drop_contexts(f);
        both(f, "a.crt");
        if (cases[i].agreed == NULL) {
            assert_refused(f, "tlsv1 alert no application protocol");
            continue;
        }
        assert_up(f);
        assert_true(span_eq(at_server(f)->alpn, span_str(cases[i].agreed)));
        assert_true(span_eq(at_client(f)->alpn, span_str(cases[i].agreed)));
    }
}

static void http_1_0_is_spoken_too(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a.crt"};
    make_server(f, names, 1);
    make_client(f);
    SSL_CTX_set_alpn_protos(tls_client_ctx_base(f->client)->ssl,
                            (const unsigned char *)"\10http/1.0", 9);
    meet(f);
    assert_up(f);
    assert_true(span_eq(at_server(f)->alpn, SPAN_LIT("http/1.0")));
}

static void older_versions_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int version;
        bool tls13_only, fine;
    } cases[] = {{TLS1_3_VERSION, false, true},
                 {TLS1_2_VERSION, false, true},
                 {TLS1_3_VERSION, true, true},
                 {TLS1_2_VERSION, true, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        drop_contexts(f);
        f->so.tls13_only = cases[i].tls13_only;
        make_client(f);
        SSL_CTX_set_max_proto_version(tls_client_ctx_base(f->client)->ssl, cases[i].version);
        both(f, "a.crt");
        assert_int_equal(tls_end_up(&f->e.server), cases[i].fine);
        if (cases[i].fine)
            assert_string_equal(at_server(f)->protocol,
                                cases[i].version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
    }
}

/* ---- whom a client trusts ---- */

static void a_chain_leads_to_an_authority(void **state)
{
    struct fixture *f = *state;
    both(f, "chain.crt");
    assert_up(f);
    assert_true(at_client(f)->verified);
}

static void an_unknown_authority_is_refused(void **state)
{
    struct fixture *f = *state;
    f->co.ca = f->other_ca;
    both(f, "a.crt");
    assert_refused(f, "unable to get local issuer certificate");
    assert_string_equal(at_server(f)->error, "tlsv1 alert unknown ca");
    f->co.no_verify = true;
    make_client(f);
    meet(f);
    assert_up(f);
    assert_false(at_client(f)->verified);
}

static void a_missing_link_is_refused(void **state)
{
    struct fixture *f = *state;
    both(f, "leaf.crt");
    assert_refused(f, "unable to get local issuer certificate");
}

static void what_has_expired_is_refused(void **state)
{
    struct fixture *f = *state;
    both(f, "oldchain.crt");
    assert_refused(f, "certificate has expired");
}

static void another_name_is_refused(void **state)
{
    struct fixture *f = *state;
    f->co.server_name = "b.example";
    both(f, "a.crt");
    assert_refused(f, "hostname mismatch");
}

static void an_address_is_checked_where_there_is_no_name(void **state)
{
    struct fixture *f = *state;
    struct net_addr here, there, path;
    assert_true(net_addr_ip(&here, "127.0.0.1", 443));
    assert_true(net_addr_ip(&there, "127.0.0.2", 443));
    assert_true(net_addr_unix(&path, "/tmp/x.sock"));
    f->co.server_name = NULL;
    both(f, "ip.crt");
    assert_string_equal(at_client(f)->error,
                        "it is not known which name the server's certificate should have");
    meet_at(f, 0, &path);
    assert_int_equal(f->e.client.conn.error, UV_EPROTO);
    meet_at(f, 0, &there);
    assert_refused(f, "IP address mismatch");
    meet_at(f, 0, &here);
    assert_up(f);
    assert_int_equal(at_server(f)->sni.len, 0);
    f->co.server_name = "127.0.0.1";
    make_client(f);
    meet_at(f, 0, &there);
    assert_up(f);
    assert_int_equal(at_server(f)->sni.len, 0);
}

/* ---- client certificates ---- */

static void a_client_shows_who_it_is(void **state)
{
    struct fixture *f = *state;
    static const char *const alice[] = {"alice.crt"};
    f->so.client_ca = f->ca;
    f->co.cert = load(alice, 1);
    both(f, "a.crt");
    tls_certs_unref(f->co.cert);
    assert_up(f);
    const struct tls_info *info = at_server(f);
    assert_true(info->verified);
    assert_memory_equal(info->subject.ptr, "CN=alice\\, \\\"x\\\"\\0D\\0A,O=Weir Tests",
                        info->subject.len);
    assert_string_equal(info->san.ptr, "email:alice@a.example,URI:spiffe://a/b\\20c,"
                                       "DNS:alice.example,IP:10.0.0.1");
}

static void a_client_without_one_is_refused_unless_it_is_optional(void **state)
{
    struct fixture *f = *state;
    f->so.client_ca = f->ca;
    both(f, "a.crt");
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_string_equal(at_server(f)->error, "peer did not return a certificate");
    assert_true(f->e.client.conn.flags & CONN_ERROR); /* in TLS 1.3 after its own handshake */
    assert_string_equal(at_client(f)->error, "tlsv13 alert certificate required");
    f->so.client_optional = true;
    drop_contexts(f);
    both(f, "a.crt");
    assert_up(f);
    assert_false(at_server(f)->verified);
    assert_int_equal(at_server(f)->subject.len, 0);
}

static void a_client_of_another_authority_is_refused_even_then(void **state)
{
    struct fixture *f = *state;
    static const char *const eve[] = {"eve.crt"};
    f->so.client_ca = f->ca;
    f->co.cert = load(eve, 1);
    for (int i = 0; i < 2; i++) {
        f->so.client_optional = i;
        drop_contexts(f);
        both(f, "a.crt");
        assert_int_equal(f->e.server.conn.error, UV_EPROTO);
        assert_string_equal(at_server(f)->error, "unable to get local issuer certificate");
        assert_false(at_server(f)->verified);
    }
    tls_certs_unref(f->co.cert);
}

/* ---- sessions ---- */

static void a_session_is_resumed(void **state)
{
    struct fixture *f = *state;
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        for (int tickets = 0; tickets < 2; tickets++) {
            drop_contexts(f);
            f->so.tickets = tickets ? tls_tickets_new() : NULL;
            make_client(f);
            SSL_CTX_set_max_proto_version(tls_client_ctx_base(f->client)->ssl, versions[i]);
            both(f, "a.crt");
            assert_up(f);
            assert_false(at_client(f)->resumed);
            meet(f);
            assert_up(f);
            assert_true(at_client(f)->resumed && at_server(f)->resumed);
            assert_true(at_client(f)->verified);
            assert_true(span_eq(at_server(f)->sni, SPAN_LIT("a.example")));
            meet_at(f, 7, NULL); /* another endpoint has sessions of its own */
            assert_false(at_client(f)->resumed);
            meet_at(f, 7, NULL);
            assert_true(at_client(f)->resumed);
            tls_tickets_unref(f->so.tickets);
        }
    }
}

/* A client of at most this version, which asks for this name. */
static void make_client_for(struct fixture *f, const char *name, int version)
{
    f->co.server_name = name;
    make_client(f);
    SSL_CTX_set_max_proto_version(tls_client_ctx_base(f->client)->ssl, version);
}

/* The client has the session of the one before it. */
static void meet_as(struct fixture *f, const char *name, int version)
{
    SSL_SESSION *session = SSL_get1_session(tls_ssl_of(f->e.client.conn.transport));
    part(f);
    make_client_for(f, name, version);
    tls_ends_init(&f->e, 65536);
    f->met = true;
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, f->client, 0, NULL);
    assert_int_equal(SSL_set_session(tls_ssl_of(f->e.client.conn.transport), session), 1);
    SSL_SESSION_free(session);
    tls_ends_settle(&f->e);
    assert_up(f);
}

/* Whether its certificate is another or the same. */
static void check_names_of_sessions(struct fixture *f, int version)
{
    static const char *const names[] = {"a.crt", "exact.crt"};
    static const struct {
        const char *first, *then;
        bool resumed;
    } rows[] = {
        {"a.example", "x.b.example", false},
        {"a.example", "www.a.example", false},
        {"x.b.example", "a.example", false},
        {"a.example", NULL, false},
        {NULL, "a.example", false},
        {"a.example", "A.Example", true},
        {"unknown.example", "u.example", false},
        {"unknown.example", "unknown.example", true},
        {NULL, NULL, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        drop_contexts(f);
        make_server(f, names, ARRAY_LEN(names));
        make_client_for(f, rows[i].first, version);
        meet(f);
        assert_up(f);
        meet_as(f, rows[i].then, version);
        if (at_server(f)->resumed != rows[i].resumed)
            fail_msg("%s, then %s", rows[i].first, rows[i].then);
    }
}

static void a_session_is_good_for_the_name_it_was_made_for(void **state)
{
    struct fixture *f = *state;
    f->co.no_verify = true;
    for (int tickets = 0; tickets < 2; tickets++) {
        f->so.tickets = tickets ? tls_tickets_new() : NULL;
        check_names_of_sessions(f, TLS1_3_VERSION);
        check_names_of_sessions(f, TLS1_2_VERSION);
        tls_tickets_unref(f->so.tickets);
    }
}

/* As another worker, and as after a reload. */
static void a_ticket_is_good_in_another_context_with_the_same_keys(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a.crt"};
    struct tls_tickets *tickets = tls_tickets_new();
    f->so.tickets = tickets;
    both(f, "a.crt");
    make_server(f, names, 1);
    meet(f);
    assert_true(at_client(f)->resumed);
    f->so.tickets = tls_tickets_new();
    make_server(f, names, 1);
    meet(f);
    assert_up(f);
    assert_false(at_client(f)->resumed);
    tls_tickets_unref(tickets);
    tls_tickets_unref(f->so.tickets);
}

static void tickets_outlive_one_change_of_keys(void **state)
{
    struct fixture *f = *state;
    struct tls_tickets *tickets = f->so.tickets = tls_tickets_new();
    both(f, "a.crt");
    tls_tickets_rotate(tickets);
    meet(f);
    assert_true(at_client(f)->resumed); /* and a new ticket came along */
    tls_tickets_rotate(tickets);
    meet(f);
    assert_true(at_client(f)->resumed);
    tls_tickets_rotate(tickets);
    tls_tickets_rotate(tickets);
    meet(f);
    assert_up(f);
    assert_false(at_client(f)->resumed);
    tls_tickets_unref(tickets);
}

static void keys_change_by_themselves(void **state)
{
    struct tls_tickets *tickets = tls_tickets_new();
    struct tls_ticket_keys now = {0}, later;
    int64_t s = time(NULL);
    (void)state;
    tls_tickets_get(tickets, s, &now);
    later = now;
    tls_tickets_get(tickets, s + TLS_TICKET_ROTATE_S - 10, &later);
    assert_memory_equal(&now, &later, sizeof(now));
    tls_tickets_get(tickets, s + TLS_TICKET_ROTATE_S + 10, &later);
    assert_memory_equal(&later.before, &now.now, sizeof(now.now));
    assert_memory_not_equal(&later.now, &now.now, sizeof(now.now));
    tls_tickets_unref(tickets);
}

/* A session that was made without a certificate is not good where one is asked for. */
static void a_session_does_not_get_around_the_client_ca(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a.crt"};
    struct tls_tickets *tickets = f->so.tickets = tls_tickets_new();
    both(f, "a.crt");
    f->so.client_ca = f->ca;
    make_server(f, names, 1);
    meet(f);
    assert_false(tls_end_up(&f->e.server));
    assert_false(at_server(f)->resumed);
    tls_tickets_unref(tickets);
}

static void a_resumed_client_is_still_who_it_was(void **state)
{
    struct fixture *f = *state;
    static const char *const alice[] = {"alice.crt"};
    struct tls_tickets *tickets = f->so.tickets = tls_tickets_new();
    f->so.client_ca = f->ca;
    f->co.cert = load(alice, 1);
    both(f, "a.crt");
    meet(f);
    assert_up(f);
    assert_true(at_server(f)->resumed && at_server(f)->verified);
    assert_memory_equal(at_server(f)->subject.ptr, "CN=alice", 8);
    tls_certs_unref(f->co.cert);
    tls_tickets_unref(tickets);
}

/* ---- lifetime and logs ---- */

static void conns_outlive_their_context(void **state)
{
    struct fixture *f = *state;
    both(f, "a.crt");
    tls_server_ctx_free(TAKE(f->server));
    tls_client_ctx_free(TAKE(f->client));
    tls_end_say(&f->e, &f->e.client, "hello", 5, 5);
    assert_int_equal(f->e.server.got_len, 5);
}

static void keys_are_logged_if_that_is_asked_for(void **state)
{
    struct fixture *f = *state;
    char text[4096];
    FILE *log = tmpfile();
    f->so.keylog_fd = fileno(log);
    both(f, "a.crt");
    rewind(log);
    size_t n = fread(text, 1, sizeof(text) - 1, log);
    text[n] = '\0';
    assert_non_null(strstr(text, "CLIENT_TRAFFIC_SECRET_0 "));
    assert_int_equal(text[n - 1], '\n');
    fclose(log);
}

static const unsigned char *stapled(struct fixture *f, const char *ocsp, long *len)
{
    static const char *const names[] = {"a.crt"};
    struct tls_certs *certs = load(names, 1);
    if (ocsp != NULL)
        assert_int_equal(tls_certs_staple(certs, cert_path(&maker, ocsp), &f->error), 0);
    tls_server_ctx_free(f->server);
    f->server = tls_server_ctx_new(&f->so, certs, &f->error);
    tls_certs_unref(certs);
    make_client(f);
    SSL_CTX_set_tlsext_status_type(tls_client_ctx_base(f->client)->ssl, TLSEXT_STATUSTYPE_ocsp);
    meet(f);
    assert_up(f);
    const unsigned char *bytes = NULL;
    *len = SSL_get_tlsext_status_ocsp_resp(tls_ssl_of(f->e.client.conn.transport), &bytes);
    return bytes;
}

static void an_ocsp_response_is_stapled(void **state)
{
    struct fixture *f = *state;
    long len;
    cert_make_ocsp(&maker, "a.ocsp", "a", "ca", true, 5);
    assert_null(stapled(f, NULL, &len));
    assert_non_null(stapled(f, "a.ocsp", &len));
    assert_true(len > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(the_name_chooses_the_certificate),
        T(an_unknown_name_gets_the_default),
        T(two_types_of_keys_serve_one_name),
        T(the_first_that_has_a_name_serves_it),
        T(alpn_is_what_both_speak),
        T(http_1_0_is_spoken_too),
        T(older_versions_are_refused),
        T(a_chain_leads_to_an_authority),
        T(an_unknown_authority_is_refused),
        T(a_missing_link_is_refused),
        T(what_has_expired_is_refused),
        T(another_name_is_refused),
        T(an_address_is_checked_where_there_is_no_name),
        T(a_client_shows_who_it_is),
        T(a_client_without_one_is_refused_unless_it_is_optional),
        T(a_client_of_another_authority_is_refused_even_then),
        T(a_session_is_resumed),
        T(a_session_is_good_for_the_name_it_was_made_for),
        T(a_ticket_is_good_in_another_context_with_the_same_keys),
        T(tickets_outlive_one_change_of_keys),
        T(keys_change_by_themselves),
        T(a_session_does_not_get_around_the_client_ca),
        T(a_resumed_client_is_still_who_it_was),
        T(conns_outlive_their_context),
        T(keys_are_logged_if_that_is_asked_for),
        T(an_ocsp_response_is_stapled),
#undef T
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
