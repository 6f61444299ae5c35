/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates from files and folders, and what is said when they are no good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/tls_cert.h"
#include "tests/unit/cert_maker.h"

static struct cert_maker maker;

static int setup_all(void **state)
{
    (void)state;
    cert_maker_init(&maker);
    cert_folder(&maker, "dir");
    cert_folder(&maker, "live");
    cert_folder(&maker, "empty");
    static const struct cert_spec specs[] = {
        {.file = "ca", .cn = "Test CA", .ca = true},
        {.file = "a", .issuer = "ca", .san = "DNS:A.example,IP:127.0.0.1,IP:::1", .cn = "not.this"},
        {.file = "cn", .issuer = "ca", .cn = "CN.example"},
        {.file = "rsa", .issuer = "ca", .san = "DNS:r.example", .rsa = true},
        {.file = "old", .issuer = "ca", .san = "DNS:o.example", .from_days = -9, .to_days = -1},
        {.file = "soon", .issuer = "ca", .san = "DNS:s.example", .from_days = 2, .to_days = 9},
        {.file = "short", .issuer = "ca", .san = "DNS:t.example", .from_days = -1, .to_days = 3},
        {.file = "dir/tls", .issuer = "ca", .san = "DNS:1.example"},
        {.file = "dir/b", .issuer = "ca", .san = "DNS:2.example"},
    };
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        cert_make(&maker, &specs[i]);
    cert_join(&maker, "both.pem", "a.crt", "a.key");
    cert_join(&maker, "mixed.crt", "a.crt", "ca.crt");
    cert_join(&maker, "mixed.key", "cn.key", "cn.key");
    cert_join(&maker, "dir/ca.crt", "ca.crt", "ca.crt");
    cert_join(&maker, "dir/c.pem", "a.crt", "a.key");
    cert_join(&maker, "live/fullchain.pem", "a.crt", "ca.crt");
    cert_join(&maker, "live/chain.pem", "ca.crt", "ca.crt");
    cert_join(&maker, "live/cert.pem", "a.crt", "ca.crt");
    cert_write(&maker, "live/README", "text\n");
    cert_join(&maker, "live/privkey.pem", "a.key", "a.key");
    cert_write(&maker, "text.crt", "hello\n");
    cert_write(&maker, "broken.crt",
               "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    cert_join(&maker, "text.key", "a.key", "a.key");
    cert_join(&maker, "broken.key", "a.key", "a.key");
    cert_join(&maker, "nokey.crt", "a.crt", "a.crt");
    cert_join(&maker, "badkey.crt", "a.crt", "a.crt");
    cert_write(&maker, "badkey.key", "nothing\n");
    cert_join(&maker, "secret.crt", "a.crt", "a.crt");
    cert_encrypt(&maker, "secret", "a");
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    cert_maker_fini(&maker);
    return 0;
}

static struct tls_certs *load(const char *name)
{
    const char *path = cert_path(&maker, name);
    char *error = NULL;
    struct tls_certs *certs = tls_certs_load(&path, 1, &error);
    if (error != NULL)
        fail_msg("%s", error);
    return certs;
}

/* The error, with the folder's name off its front and wherever else it is. */
static char *fails(const char *name)
{
    const char *path = cert_path(&maker, name);
    char *error = NULL, *at;
    size_t n = strlen(maker.folder) + 1;
    assert_null(tls_certs_load(&path, 1, &error));
    assert_non_null(error);
    while ((at = strstr(error, maker.folder)) != NULL)
        memmove(at, at + n, strlen(at + n) + 1);
    return error;
}

static void assert_fails(const char *name, const char *why)
{
    char *error = fails(name);
    if (strncmp(error, why, strlen(why)) != 0)
        fail_msg("\"%s\" instead of \"%s\"", error, why);
    free(error);
}

/* Peers refuse such a handshake, each in words of its own: better said while it is loaded. */
static void a_chain_that_no_peer_takes_is_refused(void **state)
{
    static char san[120000];
    (void)state;
    for (size_t i = 0, n = 0; i < 2500; i++)
        n += (size_t)snprintf(san + n, sizeof(san) - n, "%sDNS:name-%05zu.a-long-domain.example",
                              i > 0 ? "," : "", i);
    cert_make(&maker, &(struct cert_spec){.file = "fits", .issuer = "ca", .san = san});
    tls_certs_unref(load("fits.crt"));
    cert_join(&maker, "long.crt", "fits.crt", "fits.crt");
    cert_join(&maker, "long.key", "fits.key", "fits.key");
    assert_fails("long.crt", "long.crt: the chain takes ");
}

static void a_certificate_has_its_key_beside_it(void **state)
{
    struct tls_certs *certs = load("a.crt");
    const struct tls_cert_info *info = tls_certs_at(certs, 0);
    (void)state;
    assert_int_equal(tls_certs_count(certs), 1);
    assert_int_equal(info->n_names, 3);
    assert_string_equal(info->names[0], "a.example");
    assert_string_equal(info->names[1], "127.0.0.1");
    assert_string_equal(info->names[2], "::1");
    assert_string_equal(info->key_type, "EC");
    assert_string_equal(info->cert_file, cert_path(&maker, "a.crt"));
    assert_string_equal(info->key_file, cert_path(&maker, "a.key"));
    assert_true(info->not_before < time(NULL));
    assert_true(info->not_after > time(NULL) + 29 * 86400);
    tls_certs_unref(certs);
}

static void or_in_it(void **state)
{
    struct tls_certs *certs = load("both.pem");
    (void)state;
    assert_string_equal(tls_certs_at(certs, 0)->key_file, cert_path(&maker, "both.pem"));
    tls_certs_unref(certs);
}

static void without_a_san_the_cn_is_its_name(void **state)
{
    struct tls_certs *certs = load("cn.crt");
    (void)state;
    assert_int_equal(tls_certs_at(certs, 0)->n_names, 1);
    assert_string_equal(tls_certs_at(certs, 0)->names[0], "cn.example");
    tls_certs_unref(certs);
}

static void a_directory_gives_all_its_pairs_in_order(void **state)
{
    struct tls_certs *certs = load("dir");
    (void)state;
    assert_int_equal(tls_certs_count(certs), 3); /* ca.crt has no key */
    assert_string_equal(tls_certs_at(certs, 0)->names[0], "2.example");
    assert_string_equal(tls_certs_at(certs, 1)->names[0], "a.example");
    assert_string_equal(tls_certs_at(certs, 2)->names[0], "1.example");
    tls_certs_unref(certs);
    certs = load("live");
    assert_int_equal(tls_certs_count(certs), 1);
    assert_string_equal(tls_certs_at(certs, 0)->cert_file, cert_path(&maker, "live/fullchain.pem"));
    tls_certs_unref(certs);
}

static void several_paths_are_one_set(void **state)
{
    char a[CERT_PATH], b[CERT_PATH];
    char *error = NULL;
    (void)state;
    snprintf(a, sizeof(a), "%s", cert_path(&maker, "short.crt"));
    snprintf(b, sizeof(b), "%s", cert_path(&maker, "rsa.crt"));
    const char *paths[] = {b, a};
    struct tls_certs *certs = tls_certs_load(paths, 2, &error);
    assert_non_null(certs);
    assert_string_equal(tls_certs_at(certs, 0)->key_type, "RSA");
    assert_int_equal(tls_certs_expiry(certs), tls_certs_at(certs, 1)->not_after);
    assert_true(tls_certs_expiry(certs) < tls_certs_at(certs, 0)->not_after);
    assert_ptr_equal(tls_certs_ref(certs), certs);
    tls_certs_unref(certs);
    tls_certs_unref(certs);
}

static void an_error_names_the_file_and_why(void **state)
{
    (void)state;
    assert_fails("none.crt", "none.crt: No such file or directory");
    assert_fails("empty", "empty: no certificate with a key is in this directory");
    assert_fails("text.crt", "text.crt: no certificate in PEM is in this file");
    assert_fails("broken.crt", "broken.crt: certificate 1 cannot be read: ");
    assert_fails("nokey.crt", "nokey.crt: it has no key, neither beside it (.key) nor in it");
    assert_fails("badkey.crt", "badkey.key: no private key in PEM can be read: ");
    assert_fails("secret.crt", "secret.key: the key is protected by a passphrase");
    assert_fails("mixed.crt", "mixed.key: the key does not belong to the certificate mixed.crt");
    assert_fails("old.crt", "old.crt: the certificate expired on 20");
    assert_fails("soon.crt", "soon.crt: the certificate is not valid before 20");
}

static void a_pair_may_be_named_outright(void **state)
{
    char *error = NULL;
    char cert[CERT_PATH], key[CERT_PATH];
    (void)state;
    snprintf(cert, sizeof(cert), "%s", cert_path(&maker, "nokey.crt"));
    snprintf(key, sizeof(key), "%s", cert_path(&maker, "a.key"));
    struct tls_certs *certs = tls_certs_load_pair(cert, key, &error);
    assert_non_null(certs);
    tls_certs_unref(certs);
    assert_null(tls_certs_load_pair(cert, NULL, &error));
    assert_non_null(strstr(error, "nokey.crt: no private key in PEM can be read"));
    free(error);
}

static void authorities_are_read_from_a_file(void **state)
{
    char *error = NULL;
    (void)state;
    struct tls_trust *trust = tls_trust_load(cert_path(&maker, "mixed.crt"), &error);
    assert_non_null(trust);
    tls_trust_free(trust);
    assert_null(tls_trust_load(cert_path(&maker, "a.key"), &error));
    assert_non_null(strstr(error, "a.key: no certificate in PEM is in this file"));
    free(error);
    setenv("SSL_CERT_FILE", cert_path(&maker, "ca.crt"), 1);
    trust = tls_trust_load(NULL, &error);
    assert_non_null(trust);
    tls_trust_free(trust);
    unsetenv("SSL_CERT_FILE");
}

static void assert_staple_fails(struct tls_certs *certs, const char *name, const char *why)
{
    char *error = NULL;
    assert_int_equal(tls_certs_staple(certs, cert_path(&maker, name), &error), -1);
    assert_non_null(error);
    if (strstr(error, why) == NULL)
        fail_msg("\"%s\" instead of \"%s\"", error, why);
    free(error);
}

static void an_ocsp_response_must_be_good(void **state)
{
    struct tls_certs *certs = load("a.crt");
    char *error = NULL;
    (void)state;
    cert_make_ocsp(&maker, "good.ocsp", "a", "ca", true, 3);
    cert_make_ocsp(&maker, "late.ocsp", "a", "ca", true, -1);
    cert_make_ocsp(&maker, "revoked.ocsp", "a", "ca", false, 3);
    cert_make_ocsp(&maker, "other.ocsp", "rsa", "ca", true, 3);
    assert_int_equal(tls_certs_staple(certs, cert_path(&maker, "good.ocsp"), &error), 0);
    assert_staple_fails(certs, "late.ocsp", "late.ocsp: the OCSP response has expired");
    assert_staple_fails(certs, "revoked.ocsp", "does not say that the certificate is good");
    assert_staple_fails(certs, "other.ocsp", "is about none of the certificates");
    assert_staple_fails(certs, "a.crt", "no OCSP response in DER can be read");
    assert_staple_fails(certs, "none.ocsp", "No such file");
    tls_certs_unref(certs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_that_no_peer_takes_is_refused),
        cmocka_unit_test(a_certificate_has_its_key_beside_it),
        cmocka_unit_test(or_in_it),
        cmocka_unit_test(without_a_san_the_cn_is_its_name),
        cmocka_unit_test(a_directory_gives_all_its_pairs_in_order),
        cmocka_unit_test(several_paths_are_one_set),
        cmocka_unit_test(an_error_names_the_file_and_why),
        cmocka_unit_test(a_pair_may_be_named_outright),
        cmocka_unit_test(authorities_are_read_from_a_file),
        cmocka_unit_test(an_ocsp_response_must_be_good),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
