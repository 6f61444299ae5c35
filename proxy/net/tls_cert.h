/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates with their keys, and the authorities that are trusted, as read from files. Reading
 * them is the control thread's; what was read is immutable and counted, so that every worker makes
 * its contexts (tls_ctx.h) from the same set without touching a file.
 *
 * Every error is one line of text that names the file and says why. It is malloc'd, and the
 * caller's to free.
 */
#ifndef WEIR_NET_TLS_CERT_H
#define WEIR_NET_TLS_CERT_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

/* One or more pairs of a chain and its key. Counted by an atomic; any thread. */
struct tls_certs;

/* What a pair is, for metrics and logs. Valid as long as the set. */
struct tls_cert_info {
    const char *cert_file, *key_file; /* the same if one file holds both */
    int64_t not_before, not_after;    /* Unix seconds; of the first certificate of the chain */
    const char *const *names;         /* of its SANs (DNS, IP), or else its CN; lower case */
    size_t n_names;
    const char *key_type; /* "EC", "RSA", "ED25519", ... */
};

/*
 * Reads the pairs that n paths name, and checks each: every certificate of the chain parses, the
 * first is valid now, the key matches it, the chain is not longer than peers take. The first pair
 * of the first path is the default. A path is a directory      every pair in it, in the order of
 * names: NAME.crt or NAME.pem with NAME.key (so tls.crt with tls.key, as Kubernetes mounts them),
 * fullchain.pem with privkey.pem, or a NAME.pem that holds its key too. A certificate without a key
 * (ca.crt) and a name that begins with a dot are passed over. At least one pair must be there. a
 * file           with its key beside it or in it, as above; FILE.key is taken too NULL with *error
 * set if anything is wrong with any of them.
 */
struct tls_certs *tls_certs_load(const char *const *paths, size_t n, char **error);

/* The same for one pair whose two files are named outright; key NULL: in the certificate's file. */
struct tls_certs *tls_certs_load_pair(const char *cert, const char *key, char **error);

/* The same for one pair of two texts in PEM, neither empty; their names are for messages. */
struct tls_certs *tls_certs_parse(struct span cert, const char *cert_name, struct span key,
                                  const char *key_name, char **error);

/* Before the set is shared: an OCSP response (DER, as `openssl ocsp -respout` writes) to staple to
 * the certificate that it is about. 0, or -1 with *error set: it does not parse, says anything but
 * "good", has expired, or is about none of them. Whether it is signed by the right one is the
 * client's to check. Once it has expired it is left out of handshakes. */
int tls_certs_staple(struct tls_certs *certs, const char *file, char **error);

/* Returns certs, for whoever keeps them. */
struct tls_certs *tls_certs_ref(struct tls_certs *certs);
/* The last one frees them. NULL is fine. */
void tls_certs_unref(struct tls_certs *certs);

/* How many pairs there are, at least 1; the i-th of them, 0 being the default. */
size_t tls_certs_count(const struct tls_certs *certs);
const struct tls_cert_info *tls_certs_at(const struct tls_certs *certs, size_t i);

/* Unix seconds of the first that expires. */
int64_t tls_certs_expiry(const struct tls_certs *certs);

/* Authorities whose certificates a peer's must lead to. Its maker's; contexts copy what they need.
 * Immutable; any thread may read. */
struct tls_trust;

/* The system's file of authorities: as SSL_CERT_FILE or OpenSSL's default say, or where the usual
 * distributions keep it. NULL: there is none. Static storage, or the environment's. */
const char *tls_trust_system(void);

/* The certificates of a PEM file, at least one; file NULL: the system's. NULL with *error set. */
struct tls_trust *tls_trust_load(const char *file, char **error);

/* The same of a text, not empty, whose name is for messages. */
struct tls_trust *tls_trust_parse(struct span text, const char *name, char **error);

/* NULL is fine. */
void tls_trust_free(struct tls_trust *trust);

#endif
