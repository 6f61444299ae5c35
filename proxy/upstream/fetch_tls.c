/* SPDX-License-Identifier: Apache-2.0 */
/* Makes contexts for fetches. Owns nothing: what was read is the context's. Control thread. */
#include "proxy/upstream/fetch_tls.h"

#include "proxy/net/tls_cert.h"

static struct tls_trust *read_trust(const struct fetch_tls *tls, char **error)
{
    return tls->ca_pem.len > 0 ? tls_trust_parse(tls->ca_pem, "the CA's data", error)
                               : tls_trust_load(tls->ca_file, error);
}

static struct tls_certs *read_certs(const struct fetch_tls *tls, char **error)
{
    if (tls->cert_pem.len > 0)
        return tls_certs_parse(tls->cert_pem, "the client certificate's data", tls->key_pem,
                               "the client key's data", error);
    return tls->key_file != NULL ? tls_certs_load_pair(tls->cert_file, tls->key_file, error)
                                 : tls_certs_load(&tls->cert_file, 1, error);
}

struct tls_client_ctx *fetch_tls_ctx(const struct fetch_tls *tls,
                                     const struct tls_client_options *options, char **error)
{
    struct tls_client_options all = *options;
    struct tls_client_ctx *ctx = NULL;
    bool shows = tls->cert_file != NULL || tls->cert_pem.len > 0;
    bool ok = tls->no_verify || (all.ca = read_trust(tls, error)) != NULL;
    ok = ok && (!shows || (all.cert = read_certs(tls, error)) != NULL);
    if (ok)
        ctx = tls_client_ctx_new(&all, error);
    tls_trust_free(all.ca);
    tls_certs_unref(all.cert);
    return ctx;
}
