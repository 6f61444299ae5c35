/* SPDX-License-Identifier: Apache-2.0 */
/* Reading PEM files. Owns the bytes until they are cleared; control thread. */
#include "proxy/net/tls_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define STEP 65536

/* Grows by hand: realloc would leave a key behind. */
static void file_grow(struct tls_file *file, size_t *room)
{
    char *more = mem_need(malloc(*room + STEP));
    if (file->len > 0)
        memcpy(more, file->bytes, file->len);
    OPENSSL_cleanse(file->bytes, file->len);
    free(file->bytes);
    file->bytes = more;
    *room += STEP;
}

static void file_hold(struct tls_file *file, struct span text)
{
    file->bytes = mem_need(malloc(text.len + 1));
    memcpy(file->bytes, text.ptr, text.len);
    file->bytes[text.len] = '\0';
    file->len = text.len;
}

static bool file_load(struct tls_file *file, const char *path, char **error)
{
    size_t room = 0, n;
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        tls_fail(error, false, "%s: %s", path, strerror(errno));
        return false;
    }
    setvbuf(in, NULL, _IONBF, 0);
    do {
        if (room - file->len < 2)
            file_grow(file, &room);
        n = fread(file->bytes + file->len, 1, room - file->len - 1, in);
        file->len += n;
    } while (n > 0 && file->len <= TLS_FILE_MAX);
    bool fine = !ferror(in) && file->len <= TLS_FILE_MAX;
    if (!fine)
        tls_fail(error, false, "%s: %s", path, ferror(in) ? strerror(errno) : "too large");
    file->bytes[file->len] = '\0';
    fclose(in);
    return fine;
}

bool tls_file_read(struct tls_file *file, const struct tls_pem *pem, char **error)
{
    *file = (struct tls_file){NULL, 0};
    if (pem->text.len == 0)
        return file_load(file, pem->name, error);
    file_hold(file, pem->text);
    return true;
}

void tls_file_clear(struct tls_file *file)
{
    if (file->bytes != NULL)
        OPENSSL_cleanse(file->bytes, file->len);
    free(TAKE(file->bytes));
}

/* Did reading stop because there is no more, and not because something is wrong? */
static bool at_end(void)
{
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

STACK_OF(X509) * tls_pem_certs(const struct tls_file *file, const char *path, char **error)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    BIO *bio = BIO_new_mem_buf(file->bytes, (int)file->len);
    X509 *cert;
    bool ok = certs != NULL && bio != NULL;
    ERR_clear_error();
    while (ok && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        ok = sk_X509_push(certs, cert) > 0;
        if (!ok)
            X509_free(cert);
    }
    if (ok && at_end() && sk_X509_num(certs) > 0)
        ERR_clear_error();
    else if (ok && at_end()) {
        tls_fail(error, false, "%s: no certificate in PEM is in this file", path);
        ok = false;
    } else {
        tls_fail(error, true, "%s: certificate %d cannot be read", path, sk_X509_num(certs) + 1);
        ok = false;
    }
    BIO_free(bio);
    if (ok)
        return certs;
    sk_X509_pop_free(certs, X509_free);
    return NULL;
}

bool tls_ip_text(const ASN1_OCTET_STRING *ip, char out[TLS_IP_TEXT])
{
    int len = ASN1_STRING_length(ip);
    return (len == 4 || len == 16) &&
           inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), out, TLS_IP_TEXT) !=
               NULL;
}
