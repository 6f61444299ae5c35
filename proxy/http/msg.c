/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: looking fields up, adding and dropping them. Owns nothing; one thread. */
#include "proxy/http/msg.h"

#include "proxy/base/check.h"

void http_head_init(struct http_head *head)
{
    memset(head, 0, offsetof(struct http_head, fields));
}

void http_head_method(struct http_head *head, struct span m)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    head->method = m;
    head->is_head = span_eq(m, SPAN_LIT("HEAD"));
    head->is_connect = span_eq(m, SPAN_LIT("CONNECT"));
    for (size_t i = 0; i < ARRAY_LEN(idempotent) && !head->idempotent; i++)
        head->idempotent = span_eq(m, span_str(idempotent[i]));
}

bool http_may_upgrade(struct span protocols)
{
    static const char *const no[] = {"h2c", "h2", "http", "tls"};
    struct span name;
    while (span_next_element(&protocols, &name)) {
        const char *slash = name.len > 0 ? memchr(name.ptr, '/', name.len) : NULL;
        if (slash != NULL) /* protocol-name ["/" version] */
            name.len = (size_t)(slash - name.ptr);
        for (size_t i = 0; i < ARRAY_LEN(no); i++)
            if (span_eq_nocase(name, span_str(no[i])))
                return false;
    }
    return true;
}

void http_head_target(struct http_head *head, struct span target)
{
    const char *mark = memchr(target.ptr, '?', target.len);
    head->target = head->path = target;
    head->has_query = mark != NULL;
    if (mark == NULL)
        return;
    head->path.len = (size_t)(mark - target.ptr);
    head->query = span_of(mark + 1, target.len - head->path.len - 1);
}

void http_head_add(struct http_head *head, enum field_id id, struct span name, struct span value)
{
    CHECK(head->n_fields < ARRAY_LEN(head->fields));
    head->fields[head->n_fields++] = (struct http_field){
        .name = name.ptr,
        .value = value.ptr,
        .name_len = (uint16_t)name.len,
        .value_len = (uint32_t)value.len,
        .id = (uint8_t)id,
    };
}

struct http_field *http_head_find(struct http_head *head, enum field_id id)
{
    for (unsigned i = 0; i < head->n_fields; i++)
        if (head->fields[i].id == id && !(head->fields[i].flags & FIELD_DROPPED))
            return &head->fields[i];
    return NULL;
}

void http_head_drop(struct http_head *head, enum field_id id)
{
    for (unsigned i = 0; i < head->n_fields; i++)
        if (head->fields[i].id == id)
            head->fields[i].flags |= FIELD_DROPPED;
}

#define STATUSES(X)                           \
    X(100, "Continue")                        \
    X(101, "Switching Protocols")             \
    X(103, "Early Hints")                     \
    X(200, "OK")                              \
    X(201, "Created")                         \
    X(202, "Accepted")                        \
    X(204, "No Content")                      \
    X(206, "Partial Content")                 \
    X(301, "Moved Permanently")               \
    X(302, "Found")                           \
    X(303, "See Other")                       \
    X(304, "Not Modified")                    \
    X(307, "Temporary Redirect")              \
    X(308, "Permanent Redirect")              \
    X(400, "Bad Request")                     \
    X(401, "Unauthorized")                    \
    X(403, "Forbidden")                       \
    X(404, "Not Found")                       \
    X(405, "Method Not Allowed")              \
    X(408, "Request Timeout")                 \
    X(409, "Conflict")                        \
    X(410, "Gone")                            \
    X(411, "Length Required")                 \
    X(412, "Precondition Failed")             \
    X(413, "Content Too Large")               \
    X(414, "URI Too Long")                    \
    X(415, "Unsupported Media Type")          \
    X(416, "Range Not Satisfiable")           \
    X(417, "Expectation Failed")              \
    X(421, "Misdirected Request")             \
    X(422, "Unprocessable Content")           \
    X(426, "Upgrade Required")                \
    X(429, "Too Many Requests")               \
    X(431, "Request Header Fields Too Large") \
    X(500, "Internal Server Error")           \
    X(501, "Not Implemented")                 \
    X(502, "Bad Gateway")                     \
    X(503, "Service Unavailable")             \
    X(504, "Gateway Timeout")                 \
    X(505, "HTTP Version Not Supported")

struct span http_status_phrase(unsigned status)
{
    switch (status) {
#define X(code, text) \
    case code:        \
        return SPAN_LIT(text);
        STATUSES(X)
#undef X
    default:
        return SPAN_LIT("");
    }
}
