/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An authority for unit tests: certificates, keys and OCSP responses into files of a temporary
 * folder, which goes with it. One thread.
 */
#ifndef WEIR_TESTS_CERT_MAKER_H
#define WEIR_TESTS_CERT_MAKER_H

#include <stdbool.h>

#define CERT_PATH 512

struct cert_maker {
    char folder[64];
};

struct cert_spec {
    const char *file;   /* NAME: NAME.crt and NAME.key are written */
    const char *issuer; /* NAME of an earlier one, or NULL: self-signed */
    const char *san;    /* "DNS:a.example,IP:127.0.0.1"; NULL: none */
    const char *cn;     /* NULL: no CN */
    bool ca, rsa;
    int from_days, to_days; /* from now; 0, 0: from a day ago to a month on */
};

void cert_maker_init(struct cert_maker *m);
void cert_maker_fini(struct cert_maker *m);

void cert_make(struct cert_maker *m, const struct cert_spec *spec);

/* A response about the certificate, by its issuer: good or revoked, for so many days. */
void cert_make_ocsp(struct cert_maker *m, const char *file, const char *cert, const char *issuer,
                    bool good, int days);

/* FOLDER/file; valid until the fourth call after it. */
const char *cert_path(const struct cert_maker *m, const char *file);

/* The key of `from` as NAME.key, under a passphrase. */
void cert_encrypt(struct cert_maker *m, const char *name, const char *from);

/* One file from several others. */
void cert_join(struct cert_maker *m, const char *to, const char *a, const char *b);
void cert_write(struct cert_maker *m, const char *to, const char *text);
void cert_folder(struct cert_maker *m, const char *name);

#endif
