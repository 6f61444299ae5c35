/* SPDX-License-Identifier: Apache-2.0 */
/* See tls_meet.h. Owns the certificates. */
#include "tests/unit/tls_meet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"

struct cert_maker tls_meet_maker;

struct tls_certs *tls_meet_certs(const char *const *names, size_t n)
{
    char paths[8][CERT_PATH];
    const char *list[8];
    char *error = NULL;
    for (size_t i = 0; i < n; i++) {
        snprintf(paths[i], CERT_PATH, "%s", cert_path(&tls_meet_maker, names[i]));
        list[i] = paths[i];
    }
    struct tls_certs *certs = tls_certs_load(list, n, &error);
    assert_null(error);
    return certs;
}

int tls_meet_setup_all(void **state)
{
    (void)state;
    cert_maker_init(&tls_meet_maker);
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
        cert_make(&tls_meet_maker, &specs[i]);
    cert_join(&tls_meet_maker, "chain.crt", "leaf.crt", "mid.crt");
    cert_join(&tls_meet_maker, "chain.key", "leaf.key", "leaf.key");
    cert_join(&tls_meet_maker, "oldchain.crt", "oldleaf.crt", "oldmid.crt");
    cert_join(&tls_meet_maker, "oldchain.key", "oldleaf.key", "oldleaf.key");
    return 0;
}

int tls_meet_teardown_all(void **state)
{
    (void)state;
    cert_maker_fini(&tls_meet_maker);
    return 0;
}

int tls_meet_setup(void **state)
{
    struct tls_meeting *f = calloc(1, sizeof(*f));
    f->ca = tls_trust_load(cert_path(&tls_meet_maker, "ca.crt"), &f->error);
    f->other_ca = tls_trust_load(cert_path(&tls_meet_maker, "other.crt"), &f->error);
    f->so.alpn = TLS_ALPN_H1 | TLS_ALPN_H2;
    f->co.alpn = TLS_ALPN_H1 | TLS_ALPN_H2;
    f->co.ca = f->ca;
    f->co.server_name = "a.example";
    *state = f;
    return 0;
}

void tls_part(struct tls_meeting *f)
{
    if (f->met)
        tls_ends_fini(&f->e);
    f->met = false;
}

void tls_meet_drop(struct tls_meeting *f)
{
    tls_part(f);
    tls_server_ctx_free(TAKE(f->server));
    tls_client_ctx_free(TAKE(f->client));
}

int tls_meet_teardown(void **state)
{
    struct tls_meeting *f = *state;
    tls_meet_drop(f);
    tls_trust_free(f->ca);
    tls_trust_free(f->other_ca);
    free(f->error);
    free(f);
    return 0;
}

void tls_meet_server(struct tls_meeting *f, const char *const *names, size_t n)
{
    struct tls_certs *certs = tls_meet_certs(names, n);
    tls_server_ctx_free(f->server);
    f->server = tls_server_ctx_new(&f->so, certs, &f->error);
    tls_certs_unref(certs);
    assert_non_null(f->server);
}

void tls_meet_client(struct tls_meeting *f)
{
    tls_client_ctx_free(f->client);
    f->client = tls_client_ctx_new(&f->co, &f->error);
    assert_non_null(f->client);
}

void tls_meet_at(struct tls_meeting *f, uint32_t endpoint, const struct net_addr *to)
{
    tls_part(f);
    tls_ends_init(&f->e, 65536);
    f->met = true;
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, f->client, endpoint, to);
    tls_ends_settle(&f->e);
}

void tls_meet(struct tls_meeting *f)
{
    tls_meet_at(f, 0, NULL);
}

void tls_meet_both(struct tls_meeting *f, const char *cert)
{
    if (f->server == NULL)
        tls_meet_server(f, &cert, 1);
    if (f->client == NULL)
        tls_meet_client(f);
    tls_meet(f);
}

const struct tls_info *tls_at_server(struct tls_meeting *f)
{
    return conn_tls(&f->e.server.conn);
}

const struct tls_info *tls_at_client(struct tls_meeting *f)
{
    return conn_tls(&f->e.client.conn);
}

void tls_meet_up(struct tls_meeting *f)
{
    if (tls_at_client(f)->error != NULL)
        fail_msg("client: %s", tls_at_client(f)->error);
    if (tls_at_server(f)->error != NULL)
        fail_msg("server: %s", tls_at_server(f)->error);
    assert_true(tls_end_up(&f->e.client) && tls_end_up(&f->e.server));
}

void tls_meet_refused(struct tls_meeting *f, const char *why)
{
    assert_false(tls_end_up(&f->e.client));
    assert_int_equal(f->e.client.conn.error, UV_EPROTO);
    assert_string_equal(tls_at_client(f)->error, why);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
}
