/* SPDX-License-Identifier: Apache-2.0 */
/* The edits of a proxy. Owns nothing; one thread. */
#include "proxy/http/forward.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/net/tls.h"

#define ID_MAX 128

static bool request_id_valid(struct span id)
{
    if (id.len == 0 || id.len > ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] <= ' ' || id.ptr[i] > '~')
            return false;
    return true;
}

/* Applications that turn '-' into '_' would take it for another field [nginx]. */
static bool has_underscore(struct span name)
{
    return memchr(name.ptr, '_', name.len) != NULL;
}

/* ---- building values ---- */

/* Appends to a block; whatever does not fit is left out, and then the whole field is. */
struct builder {
    char *start, *at, *end;
    bool full;
};

static struct builder builder_begin(struct buf_pool *pool, struct block **scratch)
{
    if (*scratch == NULL)
        *scratch = block_get(pool, true);
    struct block *b = *scratch;
    char *at = b->data + b->used;
    return (struct builder){at, at, b->data + b->cap, false};
}

static void build(struct builder *b, struct span s)
{
    if ((size_t)(b->end - b->at) < s.len) {
        b->full = true;
        return;
    }
    memcpy(b->at, s.ptr, s.len);
    b->at += s.len;
}

/* The value; empty if it did not fit. */
static struct span builder_end(struct builder *b, struct block *scratch)
{
    if (b->full)
        return span_of(NULL, 0);
    scratch->used = (uint32_t)(b->at - scratch->data);
    return span_of(b->start, (size_t)(b->at - b->start));
}

/* ---- forwarding fields ---- */

static struct span via(const struct http_head *head)
{
    switch (head->version) {
    case 10:
        return SPAN_LIT("1.0 weir");
    case 20:
        return SPAN_LIT("2.0 weir");
    default:
        return SPAN_LIT("1.1 weir");
    }
}

/* All lines of the field, and then the peer, in one line. */
static struct span forwarded_for(struct http_head *head, const struct http_peer *peer,
                                 struct buf_pool *pool, struct block **scratch)
{
    struct span host = http_peer_host(peer);
    struct http_field *first = http_head_find(head, FIELD_X_FORWARDED_FOR);
    if (first == NULL)
        return host;
    struct builder b = builder_begin(pool, scratch);
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != FIELD_X_FORWARDED_FOR || head->fields[i].value_len == 0)
            continue;
        build(&b, field_value(&head->fields[i]));
        build(&b, SPAN_LIT(", "));
    }
    build(&b, host);
    http_head_drop(head, FIELD_X_FORWARDED_FOR);
    struct span value = builder_end(&b, *scratch);
    return value.len > 0 ? value : host;
}

/* for=1.2.3.4;host="shop.example";proto=http (RFC 7239 section 4). */
static struct span forwarded(const struct http_head *head, const struct http_peer *peer,
                             struct buf_pool *pool, struct block **scratch)
{
    struct builder b = builder_begin(pool, scratch);
    struct span host = http_peer_host(peer);
    build(&b, SPAN_LIT("for="));
    if (span_eq(host, SPAN_LIT("unix:"))) {
        build(&b, SPAN_LIT("unknown"));
    } else if (memchr(host.ptr, ':', host.len) != NULL) {
        build(&b, SPAN_LIT("\"["));
        build(&b, host);
        build(&b, SPAN_LIT("]\""));
    } else {
        build(&b, host);
    }
    if (head->authority.len > 0) { /* host_valid: no quote can be in it */
        build(&b, SPAN_LIT(";host=\""));
        build(&b, head->authority);
        build(&b, SPAN_LIT("\""));
    }
    build(&b, peer->tls != NULL ? SPAN_LIT(";proto=https") : SPAN_LIT(";proto=http"));
    return builder_end(&b, *scratch);
}

/* Adds what is made of the first line, and is as secret as that is. */
static void add_of_line(struct http_head *head, enum field_id id, struct span name,
                        struct span value)
{
    http_head_add(head, id, name, value);
    if (head->secret_line)
        head->fields[head->n_fields - 1].flags = FIELD_SECRET;
}

static void insert_first(struct http_head *head, enum field_id id, struct span name,
                         struct span value)
{
    http_head_add(head, id, name, value);
    struct http_field added = head->fields[head->n_fields - 1];
    memmove(head->fields + 1, head->fields, (head->n_fields - 1u) * sizeof(added));
    head->fields[0] = added;
}

/* TE is hop by hop, but over HTTP/2 a recipient takes trailers on its next hop as well, and gRPC
 * wants that said (RFC 9113 section 8.2.2). */
static bool keep_te(struct http_field *f)
{
    struct span list = field_value(f), element;
    while (span_next_element(&list, &element)) {
        if (!span_eq_nocase(element, SPAN_LIT("trailers")))
            continue;
        f->value = "trailers";
        f->value_len = 8;
        f->flags &= (uint8_t)~FIELD_DROPPED; /* Connection names it rightly */
        f->flags |= FIELD_H2_ONLY;
        return true;
    }
    return false;
}

static void drop_for_upstream(struct http_head *head, bool trusted)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http_field *f = &head->fields[i];
        bool drop = field_hop_by_hop(f->id);
        switch (f->id) {
        case FIELD_X_FORWARDED_FOR:
        case FIELD_X_FORWARDED_PROTO:
        case FIELD_X_FORWARDED_HOST:
        case FIELD_FORWARDED:
            drop = !trusted;
            break;
        case FIELD_EXPECT:
            drop = head->minor == 0; /* HTTP/1.0 has no way to wait */
            break;
        case FIELD_TE:
            drop = !keep_te(f);
            break;
        case FIELD_X_CLIENT_CERT_SUBJECT: /* ours alone, whoever sends it */
        case FIELD_X_CLIENT_CERT_SAN:
            drop = true;
            break;
        case FIELD_OTHER:
            drop = has_underscore(field_name(f));
            break;
        default:
            break;
        }
        if (drop)
            f->flags |= FIELD_DROPPED;
    }
}

struct span request_id_of(struct http_head *head, struct span made)
{
    struct http_field *own = http_head_find(head, FIELD_X_REQUEST_ID);
    return own != NULL && request_id_valid(field_value(own)) ? field_value(own) : made;
}

/* One field with the id that is in force. */
static void settle_id(struct http_head *head, struct span id)
{
    struct http_field *own = http_head_find(head, FIELD_X_REQUEST_ID);
    if (own != NULL && own->value == id.ptr)
        return;
    http_head_drop(head, FIELD_X_REQUEST_ID);
    http_head_add(head, FIELD_X_REQUEST_ID, SPAN_LIT("X-Request-Id"), id);
}

/* Who the client has shown to be; what is verified is printable and has no line ends. */
static void add_certificate(struct http_head *head, const struct tls_info *tls)
{
    if (tls == NULL || !tls->verified)
        return;
    if (tls->subject.len > 0)
        http_head_add(head, FIELD_X_CLIENT_CERT_SUBJECT, SPAN_LIT("X-Client-Cert-Subject"),
                      tls->subject);
    if (tls->san.len > 0)
        http_head_add(head, FIELD_X_CLIENT_CERT_SAN, SPAN_LIT("X-Client-Cert-San"), tls->san);
}

void forward_request(struct http_head *head, const struct http_peer *peer,
                     const struct forward_options *options, struct span id, struct buf_pool *pool,
                     struct block **scratch)
{
    drop_for_upstream(head, peer->trusted);
    if (http_head_find(head, FIELD_HOST) == NULL)
        insert_first(head, FIELD_HOST, SPAN_LIT("Host"), head->authority);
    http_head_add(head, FIELD_X_FORWARDED_FOR, SPAN_LIT("X-Forwarded-For"),
                  forwarded_for(head, peer, pool, scratch));
    if (http_head_find(head, FIELD_X_FORWARDED_PROTO) == NULL)
        http_head_add(head, FIELD_X_FORWARDED_PROTO, SPAN_LIT("X-Forwarded-Proto"),
                      peer->tls != NULL ? SPAN_LIT("https") : SPAN_LIT("http"));
    if (http_head_find(head, FIELD_X_FORWARDED_HOST) == NULL)
        add_of_line(head, FIELD_X_FORWARDED_HOST, SPAN_LIT("X-Forwarded-Host"), head->authority);
    settle_id(head, id);
    add_certificate(head, peer->tls);
    if (options->forwarded) {
        struct span value = forwarded(head, peer, pool, scratch);
        if (value.len > 0)
            add_of_line(head, FIELD_FORWARDED, SPAN_LIT("Forwarded"), value);
    }
    if (options->via)
        http_head_add(head, FIELD_VIA, SPAN_LIT("Via"), via(head));
}

void forward_response(struct http_head *head, const struct forward_options *options,
                      struct span date)
{
    bool has_date = false;
    bool no_length = head->status < 200 || head->status == 204; /* RFC 9110 section 8.6 */
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http_field *f = &head->fields[i];
        if (field_hop_by_hop(f->id) || (no_length && f->id == FIELD_CONTENT_LENGTH))
            f->flags |= FIELD_DROPPED;
        has_date |= f->id == FIELD_DATE;
    }
    if (!has_date && head->status >= 200)
        http_head_add(head, FIELD_DATE, SPAN_LIT("Date"), date);
    if (options->via)
        http_head_add(head, FIELD_VIA, SPAN_LIT("Via"), via(head));
}

void forward_trailers(struct http_head *trailers, bool request)
{
    if (trailers == NULL)
        return;
    for (unsigned i = 0; i < trailers->n_fields; i++) {
        struct http_field *f = &trailers->fields[i];
        if (!field_in_trailers(f->id) || (request && has_underscore(field_name(f))))
            f->flags |= FIELD_DROPPED;
    }
}
