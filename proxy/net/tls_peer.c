/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a client is, by its certificate, as text that is safe in a field and in a log. Pure; any
 * thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_file.h"
#include "proxy/net/tls_ssl.h"

struct text {
    char *bytes;
    size_t len;
};

static void text_add(struct text *text, const char *bytes, size_t len)
{
    text->bytes = mem_need(realloc(text->bytes, text->len + len + 1));
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    text->bytes[text->len] = '\0';
}

char *tls_subject_text(X509 *cert)
{
    struct text text = {NULL, 0};
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes = NULL;
    text_add(&text, "", 0);
    if (bio != NULL &&
        X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(bio, &bytes);
        if (len > 0)
            text_add(&text, bytes, (size_t)len);
    }
    BIO_free(bio);
    ERR_clear_error();
    return text.bytes;
}

static void add_escaped(struct text *text, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char escaped[4];
        bool plain = bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != ',' && bytes[i] != '\\';
        if (plain)
            escaped[0] = (char)bytes[i];
        else
            snprintf(escaped, sizeof(escaped), "\\%02X", bytes[i]);
        text_add(text, escaped, plain ? 1 : 3);
    }
}

static void add_name(struct text *text, const char *kind, const unsigned char *bytes, size_t len)
{
    if (text->len > 0)
        text_add(text, ",", 1);
    text_add(text, kind, strlen(kind));
    add_escaped(text, bytes, len);
}

static void add_string(struct text *text, const char *kind, const ASN1_STRING *string)
{
    add_name(text, kind, ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string));
}

static void add_san(struct text *text, const GENERAL_NAME *san)
{
    char ip[TLS_IP_TEXT];
    switch (san->type) {
    case GEN_DNS:
        add_string(text, "DNS:", san->d.dNSName);
        break;
    case GEN_URI:
        add_string(text, "URI:", san->d.uniformResourceIdentifier);
        break;
    case GEN_EMAIL:
        add_string(text, "email:", san->d.rfc822Name);
        break;
    case GEN_IPADD:
        if (tls_ip_text(san->d.iPAddress, ip))
            add_name(text, "IP:", (const unsigned char *)ip, strlen(ip));
        break;
    default: /* nobody routes by the others */
        break;
    }
}

char *tls_san_text(X509 *cert)
{
    struct text text = {NULL, 0};
    GENERAL_NAMES *sans = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    text_add(&text, "", 0);
    for (int i = 0; i < sk_GENERAL_NAME_num(sans); i++)
        add_san(&text, sk_GENERAL_NAME_value(sans, i));
    GENERAL_NAMES_free(sans);
    ERR_clear_error();
    return text.bytes;
}
