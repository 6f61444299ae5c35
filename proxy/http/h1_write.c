/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1 serialisation. Owns nothing; writes into blocks of the conn's queue. Conn's thread. */
#include "proxy/http/h1_write.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/http/websocket.h"

static char *put(char *at, struct span s)
{
    if (s.len > 0) /* an absent part has no pointer */
        memcpy(at, s.ptr, s.len);
    return at + s.len;
}

#define PUT_LIT(at, text) ((char *)memcpy((at), (text), sizeof(text) - 1) + sizeof(text) - 1)

/* Enough for the first line's fixed parts and everything that framing may add. */
#define HEAD_SLACK 160

static size_t fields_size(const struct http_head *head)
{
    size_t n = 2;
    for (unsigned i = 0; i < head->n_fields; i++)
        if (!(head->fields[i].flags & (FIELD_DROPPED | FIELD_H2_ONLY)))
            n += head->fields[i].name_len + head->fields[i].value_len + 4u;
    return n;
}

/* Where a head is written to: one block as a rule. What weir adds can make a head longer than the
 * one that was read (a long Host goes into three fields), so that no block may hold it; such a one
 * is built apart and copied into several. */
struct room {
    struct block *block; /* NULL: apart */
    char *start;
    size_t size;
};

static struct room room_get(struct conn *c, size_t size)
{
    struct room room = {.size = size};
    if (size <= CONN_RESERVE_MAX)
        room.start = conn_reserve(c, size, &room.block);
    else
        room.start = mem_need(mem_alloc(&c->reactor->bufs.fund, size));
    return room;
}

static void room_send(struct conn *c, struct room *room, const char *end)
{
    size_t n = (size_t)(end - room->start);
    CHECK(n <= room->size);
    if (room->block != NULL) {
        conn_wrote(c, room->block, room->start, n);
        return;
    }
    struct chain chain;
    chain_init(&chain);
    chain_copy_in(&chain, &c->reactor->bufs, room->start, n);
    conn_send(c, &chain);
    free(room->start);
}

static char *put_fields(char *at, const struct http_head *head)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];
        if (f->flags & (FIELD_DROPPED | FIELD_H2_ONLY))
            continue;
        at = put(at, field_name(f));
        at = PUT_LIT(at, ": ");
        at = put(at, field_value(f));
        at = PUT_LIT(at, "\r\n");
    }
    return at;
}

static char *put_upgrade(char *at, const struct h1_framing *framing, struct span websocket)
{
    at = PUT_LIT(at, "Connection: upgrade\r\nUpgrade: ");
    at = put(at, framing->upgrade);
    at = PUT_LIT(at, "\r\n");
    if (framing->websocket.len > 0) {
        at = put(at, websocket);
        at = PUT_LIT(at, ": ");
        at = put(at, framing->websocket);
        at = PUT_LIT(at, "\r\n");
    }
    return at;
}

/* websocket: the name that its field has here. */
static char *put_framing(char *at, const struct h1_framing *framing, struct span websocket)
{
    if (framing->chunked)
        at = PUT_LIT(at, "Transfer-Encoding: chunked\r\n");
    else if (framing->empty)
        at = PUT_LIT(at, "Content-Length: 0\r\n");
    if (framing->upgrade.len > 0) {
        at = put_upgrade(at, framing, websocket);
    } else if (framing->close) {
        at = PUT_LIT(at, "Connection: close\r\n");
    } else if (framing->keep_alive) {
        at = PUT_LIT(at, "Connection: keep-alive\r\n");
    }
    return PUT_LIT(at, "\r\n");
}

void h1_write_request(struct conn *c, const struct http_head *head,
                      const struct h1_framing *framing)
{
    size_t size = head->method.len + head->path.len + head->query.len + framing->upgrade.len +
                  fields_size(head) + HEAD_SLACK;
    struct room room = room_get(c, size);
    char *at = room.start;
    at = put(at, head->method);
    *at++ = ' ';
    at = put(at, head->path);
    if (head->has_query) {
        *at++ = '?';
        at = put(at, head->query);
    }
    at = PUT_LIT(at, " HTTP/1.1\r\n");
    at = put_fields(at, head);
    at = put_framing(at, framing, WEBSOCKET_KEY_FIELD);
    room_send(c, &room, at);
}

void h1_write_response(struct conn *c, const struct http_head *head,
                       const struct h1_framing *framing)
{
    size_t size = head->phrase.len + framing->upgrade.len + fields_size(head) + HEAD_SLACK;
    struct room room = room_get(c, size);
    char *at = room.start;
    at = PUT_LIT(at, "HTTP/1.1 ");
    *at++ = (char)('0' + head->status / 100);
    *at++ = (char)('0' + head->status / 10 % 10);
    *at++ = (char)('0' + head->status % 10);
    *at++ = ' ';
    at = put(at, head->phrase);
    at = PUT_LIT(at, "\r\n");
    at = put_fields(at, head);
    at = put_framing(at, framing, WEBSOCKET_ACCEPT_FIELD);
    room_send(c, &room, at);
}

static void write_bytes(struct conn *c, const char *bytes, size_t n)
{
    struct block *block;
    char *to = conn_reserve(c, n, &block);
    memcpy(to, bytes, n);
    conn_wrote(c, block, to, n);
}

void h1_write_body(struct conn *c, struct chain *body, bool chunked)
{
    static const char digits[] = "0123456789abcdef";
    if (!chunked || body->bytes == 0) {
        conn_send(c, body);
        return;
    }
    char size[20];
    char *end = size + sizeof(size), *at = end;
    *--at = '\n';
    *--at = '\r';
    for (size_t n = body->bytes; n > 0; n >>= 4)
        *--at = digits[n & 15];
    write_bytes(c, at, (size_t)(end - at));
    conn_send(c, body);
    write_bytes(c, "\r\n", 2);
}

void h1_write_last_chunk(struct conn *c, const struct http_head *trailers)
{
    size_t size = 8 + (trailers != NULL ? fields_size(trailers) : 0);
    struct room room = room_get(c, size);
    char *at = room.start;
    at = PUT_LIT(at, "0\r\n");
    if (trailers != NULL)
        at = put_fields(at, trailers);
    at = PUT_LIT(at, "\r\n");
    room_send(c, &room, at);
}
