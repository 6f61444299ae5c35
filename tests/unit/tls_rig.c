/* SPDX-License-Identifier: Apache-2.0 */
/* See tls_rig.h. Owns what the tests of a program share. */
#include "tests/unit/tls_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static struct tls_peers peers;

void tls_peers_init(struct tls_peers *p, uint8_t server_alpn, uint8_t client_alpn)
{
    char *error = NULL;
    cert_maker_init(&p->maker);
    cert_make(&p->maker, &(struct cert_spec){.file = "ca", .cn = "Test CA", .ca = true});
    cert_make(&p->maker, &(struct cert_spec){.file = "a", .issuer = "ca", .san = "DNS:a.example"});
    const char *path = cert_path(&p->maker, "a.crt");
    struct tls_certs *certs = tls_certs_load(&path, 1, &error);
    assert_null(error);
    struct tls_trust *trust = tls_trust_load(cert_path(&p->maker, "ca.crt"), &error);
    assert_null(error);
    struct tls_server_options so = {.alpn = server_alpn};
    struct tls_client_options co = {.ca = trust, .server_name = "a.example", .alpn = client_alpn};
    p->server = tls_server_ctx_new(&so, certs, &error);
    assert_null(error);
    p->client = tls_client_ctx_new(&co, &error);
    assert_null(error);
    tls_certs_unref(certs);
    tls_trust_free(trust);
}

void tls_peers_fini(struct tls_peers *p)
{
    tls_server_ctx_free(p->server);
    tls_client_ctx_free(p->client);
    cert_maker_fini(&p->maker);
}

int tls_rig_setup_all(void **state)
{
    (void)state;
    tls_peers_init(&peers, TLS_ALPN_H1 | TLS_ALPN_H2, TLS_ALPN_H2);
    return 0;
}

int tls_rig_teardown_all(void **state)
{
    (void)state;
    tls_peers_fini(&peers);
    return 0;
}

int tls_rig_setup(void **state)
{
    struct tls_rig *f = calloc(1, sizeof(*f));
    f->server = peers.server;
    f->client = peers.client;
    f->big = malloc(TLS_RIG_BIG);
    for (size_t i = 0; i < TLS_RIG_BIG; i++)
        f->big[i] = (char)(i * 7 + i / 251);
    tls_ends_init(&f->e, TLS_RIG_CAPACITY);
    *state = f;
    return 0;
}

int tls_rig_teardown(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_fini(&f->e);
    free(f->big);
    free(f);
    return 0;
}

void tls_rig_again(struct tls_rig *f, size_t capacity)
{
    tls_ends_fini(&f->e);
    tls_ends_init(&f->e, capacity);
}

void tls_rig_got(const struct tls_end *end, const char *bytes, size_t n)
{
    assert_int_equal(end->got_len, n);
    assert_memory_equal(end->got, bytes, n);
}
