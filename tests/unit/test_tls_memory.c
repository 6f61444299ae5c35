/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of an authority for whom there was once no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "proxy/net/tls_ssl.h"
#include "tests/unit/cert_maker.h"

/* OpenSSL's allocations: the one that fails is as far from now; 0: none. */
static unsigned fails_in;

static bool is_it(void)
{
    return fails_in > 0 && --fails_in == 0;
}

static void *allocate(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return is_it() ? NULL : malloc(n);
}

static void *allocate_again(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return is_it() ? NULL : realloc(p, n);
}

static void give_back(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

static struct cert_maker maker;

static X509 *read_cert(const char *name)
{
    FILE *file = fopen(cert_path(&maker, name), "r");
    assert_non_null(file);
    X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
    assert_non_null(cert);
    fclose(file);
    return cert;
}

static bool is_trusted(X509_STORE *store, X509 *cert)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
    bool ok = X509_verify_cert(ctx) == 1;
    X509_STORE_CTX_free(ctx);
    return ok;
}

/* Whichever allocation fails: the store is not filled, or it is as good as any. */
static void one_that_fails_leaves_no_authority_that_nobody_believes(void **state)
{
    char *error = NULL;
    struct tls_trust *trust = tls_trust_load(cert_path(&maker, "ca.crt"), &error);
    X509 *leaf = read_cert("a.crt");
    unsigned filled = 0, refused = 0;
    bool struck = true;
    (void)state;
    assert_non_null(trust);
    for (unsigned k = 1; struck; k++) {
        X509_STORE *store = X509_STORE_new();
        fails_in = k;
        bool ok = tls_trust_fill(trust, store, NULL);
        struck = fails_in == 0;
        fails_in = 0;
        if (ok && !is_trusted(store, leaf))
            fail_msg("after allocation %u the authority is there, and not believed", k);
        filled += ok && struck;
        refused += !ok;
        X509_STORE_free(store);
    }
    print_message("%u stores filled all the same, %u not\n", filled, refused);
    assert_true(filled > 0 && refused > 0);
    X509_free(leaf);
    tls_trust_free(trust);
}

static int setup(void **state)
{
    (void)state;
    cert_maker_init(&maker);
    cert_make(&maker, &(struct cert_spec){.file = "ca", .cn = "ca", .ca = true});
    cert_make(&maker, &(struct cert_spec){.file = "a", .issuer = "ca", .san = "DNS:a.example"});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cert_maker_fini(&maker);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_fails_leaves_no_authority_that_nobody_believes),
    };
    if (CRYPTO_set_mem_functions(allocate, allocate_again, give_back) != 1)
        return 1;
    return cmocka_run_group_tests(tests, setup, teardown);
}
