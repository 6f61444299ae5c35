/* SPDX-License-Identifier: Apache-2.0 */
/* What requests and answers are over HTTP/2. Owns nothing; must never call up. Conn's thread. */
#include "proxy/http/h2_request.h"

#include "proxy/base/check.h"
#include "proxy/net/tls.h"

/* Leaves out what extended CONNECT has no use for (RFC 8441 section 5), or what makes it one. */
static size_t request_fields(nghttp2_nv *nv, size_t n, const struct http_head *head, bool extended)
{
    const struct span leave = extended ? SPAN_LIT("sec-websocket-key") : SPAN_LIT(":protocol");
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!span_eq_nocase(span_of((const char *)nv[i].name, nv[i].namelen), leave))
            nv[kept++] = nv[i];
    if (!extended) {
        nv[0].value = (uint8_t *)(uintptr_t)head->method.ptr;
        nv[0].valuelen = head->method.len;
    }
    return kept;
}

/* A request's body has no place in an extended CONNECT: the tunnel would begin with it. */
bool h2_request_extends(const struct http_head *head)
{
    return head->upgrade.len > 0 && head->body == BODY_NONE;
}

/* An upgrade that the upstream has no extended CONNECT for is left out, as any server may. */
void h2_request_submit(struct h2_stream *s, const struct http_head *head)
{
    const struct h2_session *h = s->session;
    struct recycle *pieces = &h->conn->reactor->pieces;
    nghttp2_nv nv[H2_NV_MAX];
    bool extended =
        h2_request_extends(head) &&
        nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
    bool bodyless = head->body == BODY_NONE && !extended;
    struct span scheme = conn_tls(h->conn) != NULL ? SPAN_LIT("https") : SPAN_LIT("http");
    char *path = mem_need(recycle_get(pieces, head->path.len + head->query.len + 1));
    size_t n = h2_write_request(head, scheme, nv, path);
    if (head->upgrade.len > 0)
        n = request_fields(nv, n, head, extended);
    nghttp2_data_provider source = h2_stream_source(s);
    int32_t id = nghttp2_submit_request(h->ng, NULL, nv, n, bodyless ? NULL : &source, s);
    recycle_put(pieces, path);
    s->extended = extended;
    s->tx_head = true;
    if (bodyless)
        s->tx_end = true;
    if (id < 0)
        h2_stream_fail(s, REASON_UPSTREAM_UNSENT, true);
    else
        s->id = id;
    conn_wake(h->conn);
}

/* Extended CONNECT was granted: as an upgrade is, in HTTP/1. */
static void head_upgrade(struct h2_stream *s, struct http_head *head)
{
    s->tunnel = true;
    head->status = 101;
    head->phrase = http_status_phrase(101);
    head->upgrade = s->asked.upgrade;
    head->body = BODY_TUNNEL;
    head->content_length = 0;
    http_head_drop(head, FIELD_CONTENT_LENGTH);
}

void h2_answer_settle(struct h2_stream *s, struct http_head *head)
{
    if (s->extended && head->status < 300)
        head_upgrade(s, head);
}

void h2_request_unhold(struct h2_session *h)
{
    struct list_node *it = h->streams.next;
    if (!h->told || h->dead)
        return;
    for (; it != &h->streams; it = it->next) {
        struct h2_stream *s = CONTAINER_OF(it, h2_stream, link);
        const struct http_head *head = TAKE(s->asked.held);
        if (head != NULL && s->owned && !s->gone)
            h2_request_submit(s, head);
    }
}
