/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files with certificates and keys, and small things around them. For tls_cert.c, tls_trust.c and
 * tls_staple.c, on the control thread. What is read is wiped when it is cleared.
 */
#ifndef WEIR_NET_TLS_FILE_H
#define WEIR_NET_TLS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

#include "proxy/net/tls_ssl.h"

#define TLS_FILE_MAX ((size_t)4 << 20) /* bytes; more is no certificate */

struct tls_file {
    char *bytes; /* NUL behind them */
    size_t len;
};

/* A text, of PEM as a rule: a file's, or, unless it is empty, the one that is given. */
struct tls_pem {
    const char *name; /* the file's, or a word for it */
    struct span text;
};

/* False with *error set; to be cleared in any case. */
bool tls_file_read(struct tls_file *file, const struct tls_pem *pem, char **error);
void tls_file_clear(struct tls_file *file);

/* All certificates in it, at least one, in their order; NULL with *error set. path: for words. */
STACK_OF(X509) * tls_pem_certs(const struct tls_file *file, const char *path, char **error);

bool tls_der_of_x509(struct tls_der *der, const X509 *cert);
void tls_der_clear(struct tls_der *der);

/* Unix seconds; 0 if it is none. */
int64_t tls_unix_time(const ASN1_TIME *when);

/* Of the set's only owner. */
struct tls_pair *tls_certs_edit(struct tls_certs *certs, size_t i);

/* "10.0.0.1" or "::1"; false if it is no address. */
#define TLS_IP_TEXT 64
bool tls_ip_text(const ASN1_OCTET_STRING *ip, char out[TLS_IP_TEXT]);

#endif
