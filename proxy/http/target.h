/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request targets and host names: the grammar of RFC 3986, applied strictly, the four forms of
 * RFC 9112 section 3.2, and the one normal form of a path that is both routed on and forwarded.
 *
 * Normal form (RFC 3986 section 6.2.2): percent-encoded unreserved octets decoded, the remaining
 * triplets in upper case, then dot segments removed, so that %2e%2e is one too. %2F is never
 * decoded and empty segments are kept. The query is checked but never changed.
 *
 * Pure: no I/O, no allocation, any thread. Never trusts a byte of its input.
 */
#ifndef WEIR_HTTP_TARGET_H
#define WEIR_HTTP_TARGET_H

#include <stdbool.h>

#include "proxy/base/span.h"

enum target_form {
    TARGET_ORIGIN,    /* /path?query */
    TARGET_ABSOLUTE,  /* http://authority/path?query */
    TARGET_AUTHORITY, /* host:port, with CONNECT only */
    TARGET_ASTERISK,  /* *, with OPTIONS only */
};

enum target_error {
    TARGET_OK,
    TARGET_ERR_EMPTY,     /* no target at all */
    TARGET_ERR_FORM,      /* not a form that this method may have */
    TARGET_ERR_SCHEME,    /* absolute-form, but neither http nor https */
    TARGET_ERR_AUTHORITY, /* empty or invalid host, bad port, or userinfo */
    TARGET_ERR_BYTE,      /* a byte outside the grammar, '#' among them */
    TARGET_ERR_PERCENT,   /* '%' without two hexadecimal digits */
    TARGET_ERR_SCRATCH,   /* scratch too small to normalise into */
};

struct target {
    enum target_form form;
    struct span scheme;    /* "http" or "https", lower case, static; empty unless absolute */
    struct span authority; /* as sent; empty in origin-form and for a plain "*" */
    struct span path;      /* normalised, begins with '/'; "*" for asterisk; empty for authority */
    struct span query;     /* as sent, without the '?' */
    bool has_query;        /* tells "/x?" from "/x" */
};

/*
 * Parses the target of a request line. is_connect and is_options tell the method. On TARGET_OK
 * every span of *out points into raw, into scratch (the path, only if it was not normal already) or
 * at static memory; otherwise *out is undefined. scratch_len >= raw.len always suffices. scratch
 * must not overlap raw.
 *
 * The absolute-form with an empty path means "/", and for OPTIONS without a query "*" (RFC 9112
 * section 3.2.4): the form is then TARGET_ASTERISK with a non-empty authority.
 */
enum target_error target_parse(struct span raw, bool is_connect, bool is_options, char *scratch,
                               size_t scratch_len, struct target *out);

/* A few words for a log or an error page; never NULL. */
const char *target_error_text(enum target_error error);

/*
 * Is it `uri-host [ ":" port ]` (RFC 9110 section 7.2)? uri-host is a reg-name, an IPv4 address or
 * a bracketed IPv6 address without a zone (IPvFuture is refused: nobody uses it); the port is empty
 * or at most 65535. No userinfo, no path, no space. An empty value is valid only with allow_empty
 * (RFC 9112 section 3.2: a target URI without authority); an empty host with a port never is.
 */
bool host_valid(struct span host, bool allow_empty);

/* The host without its port, brackets kept. host must be valid. */
struct span host_name(struct span host);

#endif
