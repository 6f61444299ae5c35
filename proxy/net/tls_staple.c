/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP responses that are read from a file, for the certificate they are about. Owns nothing;
 * control thread.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/ocsp.h>

#include "proxy/base/mem.h"
#include "proxy/net/tls_cert.h"
#include "proxy/net/tls_file.h"
#include "proxy/net/tls_ssl.h"

/* Is the answer about this certificate: its issuer's name, by its hash, and its serial number? */
static bool about(const OCSP_CERTID *id, const X509 *cert)
{
    ASN1_OCTET_STRING *name_hash;
    ASN1_OBJECT *algorithm;
    ASN1_INTEGER *serial;
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len;
    OCSP_id_get0_info(&name_hash, &algorithm, NULL, &serial, (OCSP_CERTID *)(uintptr_t)id);
    const EVP_MD *md = EVP_get_digestbyobj(algorithm);
    return md != NULL && ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(cert)) == 0 &&
           X509_NAME_digest(X509_get_issuer_name(cert), md, hash, &len) == 1 &&
           (int)len == ASN1_STRING_length(name_hash) &&
           memcmp(hash, ASN1_STRING_get0_data(name_hash), len) == 0;
}

/* NULL, or what is wrong with it. */
static const char *judge(OCSP_SINGLERESP *single, int64_t *until)
{
    ASN1_GENERALIZEDTIME *next = NULL;
    int status = OCSP_single_get0_status(single, NULL, NULL, NULL, &next);
    *until = next != NULL ? tls_unix_time(next) : INT64_MAX;
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return "the OCSP response does not say that the certificate is good";
    return *until <= time(NULL) ? "the OCSP response has expired" : NULL;
}

static void staple_set(struct tls_pair *pair, const struct tls_file *file, int64_t until)
{
    tls_der_clear(&pair->staple);
    unsigned char *copy = OPENSSL_memdup(file->bytes, file->len);
    if (copy == NULL)
        mem_out();
    pair->staple = (struct tls_der){copy, file->len};
    pair->staple_until = until;
}

/* The answer that is about the certificate, or NULL. */
static OCSP_SINGLERESP *find(OCSP_BASICRESP *basic, const X509 *cert)
{
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
        if (about(OCSP_SINGLERESP_get0_id(single), cert))
            return single;
    }
    return NULL;
}

/* How many certificates it is about; -1 with *error set. */
static int staple_all(struct tls_certs *certs, OCSP_BASICRESP *basic, const struct tls_file *text,
                      const char *file, char **error)
{
    int found = 0;
    for (size_t i = 0; found >= 0 && i < tls_certs_count(certs); i++) {
        struct tls_pair *pair = tls_certs_edit(certs, i);
        X509 *cert = tls_der_x509(&pair->chain[0]);
        OCSP_SINGLERESP *single = cert != NULL ? find(basic, cert) : NULL;
        int64_t until = 0;
        const char *wrong = single != NULL ? judge(single, &until) : NULL;
        if (wrong != NULL) {
            tls_fail(error, false, "%s: %s (%s)", file, wrong, pair->info.cert_file);
            found = -1;
        } else if (single != NULL) {
            staple_set(pair, text, until);
            found++;
        }
        X509_free(cert);
    }
    return found;
}

int tls_certs_staple(struct tls_certs *certs, const char *file, char **error)
{
    const struct tls_pem pem = {.name = file};
    struct tls_file text;
    OCSP_RESPONSE *response = NULL;
    OCSP_BASICRESP *basic = NULL;
    int found = -1;
    if (tls_file_read(&text, &pem, error)) {
        const unsigned char *at = (const unsigned char *)text.bytes;
        response = d2i_OCSP_RESPONSE(NULL, &at, (long)text.len);
        if (response == NULL)
            tls_fail(error, true, "%s: no OCSP response in DER can be read", file);
        else if ((basic = OCSP_response_get1_basic(response)) == NULL)
            tls_fail(error, false, "%s: the OCSP response says \"%s\"", file,
                     OCSP_response_status_str(OCSP_response_status(response)));
        else if ((found = staple_all(certs, basic, &text, file, error)) == 0)
            tls_fail(error, false, "%s: the OCSP response is about none of the certificates", file);
    }
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    tls_file_clear(&text);
    return found > 0 ? 0 : -1;
}
