/* SPDX-License-Identifier: Apache-2.0 */
/* The meaning of an HTTP/1 head. Owns nothing, does no I/O; any thread. */
#include "proxy/http/h1_head.h"

#include "proxy/base/check.h"
#include "proxy/http/target.h"

/* ---- the first line ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* " HTTP/1.1" after the target. */
static enum reason check_version(struct span version, struct http_head *head)
{
    if (version.len != 8 || memcmp(version.ptr, "HTTP/", 5) != 0 || !is_digit(version.ptr[5]) ||
        version.ptr[6] != '.' || !is_digit(version.ptr[7]))
        return REASON_BAD_REQUEST_LINE;
    if (version.ptr[5] != '1' || version.ptr[7] > '1')
        return REASON_BAD_VERSION;
    head->minor = (uint8_t)(version.ptr[7] - '0');
    head->version = 10 + head->minor;
    return REASON_NONE;
}

/* Every method that llhttp knows but those of other protocols; the parser refuses the rest. */
static enum reason check_method(struct span method, struct http_head *head)
{
    if (!token_valid(method))
        return REASON_BAD_REQUEST_LINE;
    if (span_eq(method, SPAN_LIT("PRI"))) /* the preface of HTTP/2 */
        return REASON_BAD_VERSION;
    http_head_method(head, method);
    return REASON_NONE;
}

/* What can be said before the line ends, and so is said first when it has ended. */
static enum reason check_beginning(struct span line, size_t target_max)
{
    size_t window = line.len < H1_METHOD_MAX + 1 ? line.len : H1_METHOD_MAX + 1;
    const char *space = memchr(line.ptr, ' ', window);
    if (space == NULL)
        return window > H1_METHOD_MAX ? REASON_BAD_REQUEST_LINE : REASON_NONE;
    struct span target = span_of(space + 1, line.len - (size_t)(space + 1 - line.ptr));
    const char *end = memchr(target.ptr, ' ', target.len);
    size_t len = end != NULL ? (size_t)(end - target.ptr) : target.len;
    return len > target_max ? REASON_TARGET_TOO_LONG : REASON_NONE;
}

enum reason h1_check_request_line(struct span line, bool complete, size_t target_max,
                                  struct http_head *head)
{
    CHECK(!complete || (line.len > 0 && line.ptr[line.len - 1] == '\n'));
    if (complete)
        line.len--;
    enum reason bad = check_beginning(line, target_max);
    if (!complete || bad != REASON_NONE)
        return bad;
    if (line.len == 0 || memchr(line.ptr, '\r', line.len) != line.ptr + line.len - 1)
        return REASON_BAD_LINE_ENDING;
    line.len--;
    const char *space = memchr(line.ptr, ' ', line.len);
    if (space == NULL)
        return REASON_BAD_REQUEST_LINE;
    struct span target = span_of(space + 1, line.len - (size_t)(space + 1 - line.ptr));
    const char *end = memchr(target.ptr, ' ', target.len);
    bad = check_method(span_of(line.ptr, (size_t)(space - line.ptr)), head);
    if (end == NULL)
        return REASON_BAD_REQUEST_LINE;
    struct span version = span_of(end + 1, target.len - (size_t)(end + 1 - target.ptr));
    target.len = (size_t)(end - target.ptr);
    head->target = target;
    if (bad != REASON_NONE)
        return bad;
    if (target.len == 0)
        return REASON_BAD_REQUEST_LINE;
    return check_version(version, head);
}

/* HTAB, SP, VCHAR and obs-text (RFC 9112 section 4); llhttp lets every byte but CR and LF pass. */
static bool phrase_valid(struct span phrase)
{
    for (size_t i = 0; i < phrase.len; i++) {
        unsigned char c = (unsigned char)phrase.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

enum reason h1_check_status_line(struct span line, struct http_head *head)
{
    if (line.len < 12 || memcmp(line.ptr, "HTTP/1.", 7) != 0 || line.ptr[8] != ' ' ||
        (line.ptr[7] != '0' && line.ptr[7] != '1'))
        return REASON_BAD_RESPONSE;
    const char *d = line.ptr + 9;
    if (!is_digit(d[0]) || !is_digit(d[1]) || !is_digit(d[2]))
        return REASON_BAD_RESPONSE;
    if (line.len > 12 && line.ptr[12] != ' ')
        return REASON_BAD_RESPONSE;
    head->minor = (uint8_t)(line.ptr[7] - '0');
    head->version = 10 + head->minor;
    head->status = (uint16_t)((d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0'));
    head->phrase = line.len > 13 ? span_of(line.ptr + 13, line.len - 13) : span_of("", 0);
    bool ok = head->status >= 100 && head->status <= 599 && phrase_valid(head->phrase);
    return ok ? REASON_NONE : REASON_BAD_RESPONSE;
}

/* ---- fields ---- */

/* Every field that weir acts on, counted and found in one pass. */
struct field_index {
    struct http_field *host, *content_length, *upgrade, *keep_alive, *expect;
    unsigned n_host, n_content_length, n_transfer_encoding, n_connection;
};

static void index_fields(struct http_head *head, struct field_index *at)
{
    *at = (struct field_index){0};
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http_field *f = &head->fields[i];
        switch (f->id) {
        case FIELD_HOST:
            at->host = f;
            at->n_host++;
            break;
        case FIELD_CONTENT_LENGTH:
            at->content_length = f;
            at->n_content_length++;
            break;
        case FIELD_TRANSFER_ENCODING:
            at->n_transfer_encoding++;
            break;
        case FIELD_CONNECTION:
            at->n_connection++;
            break;
        case FIELD_UPGRADE:
            at->upgrade = f;
            break;
        case FIELD_KEEP_ALIVE:
            at->keep_alive = f;
            break;
        case FIELD_EXPECT:
            at->expect = f;
            break;
        default:
            break;
        }
    }
}

/* A field that Connection names is for the next hop only. */
static void drop_named(struct http_head *head, struct span name)
{
    if (!field_removable(name))
        return;
    for (unsigned i = 0; i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), name))
            head->fields[i].flags |= FIELD_DROPPED;
}

#define NAMED_MAX 32 /* fields that Connection may name; each is looked for among all */

/* Reads every Connection field. *upgrade: one of them says so. */
static enum reason read_connection(struct http_head *head, bool *upgrade)
{
    unsigned named = 0;
    *upgrade = false;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != FIELD_CONNECTION)
            continue;
        struct span list = field_value(&head->fields[i]), option;
        while (span_next_element(&list, &option)) {
            if (span_eq_nocase(option, SPAN_LIT("close")))
                head->close = true;
            else if (span_eq_nocase(option, SPAN_LIT("keep-alive")))
                head->keep_alive = true;
            else if (span_eq_nocase(option, SPAN_LIT("upgrade")))
                *upgrade = true;
            else if (option.len > 0 && ++named > NAMED_MAX)
                return REASON_BAD_FIELD;
            else if (option.len > 0)
                drop_named(head, option);
        }
    }
    return REASON_NONE;
}

static void read_keep_alive(struct http_head *head, const struct http_field *f)
{
    struct span list = field_value(f), item;
    while (span_next_element(&list, &item)) {
        if (item.len < 9 || !span_eq_nocase(span_of(item.ptr, 8), SPAN_LIT("timeout=")))
            continue;
        uint32_t s = 0;
        for (size_t i = 8; i < item.len && is_digit(item.ptr[i]) && s < 100000; i++)
            s = s * 10 + (uint32_t)(item.ptr[i] - '0');
        head->keep_alive_s = s;
    }
}

/* The codings of all Transfer-Encoding fields: exactly one chunked, at the end, and nothing else
 * (RFC 9112 section 6.1). */
static enum reason check_codings(const struct http_head *head)
{
    unsigned chunked = 0, others = 0;
    bool last_chunked = false;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != FIELD_TRANSFER_ENCODING)
            continue;
        struct span list = field_value(&head->fields[i]), coding;
        while (span_next_element(&list, &coding)) {
            if (coding.len == 0)
                return REASON_BAD_TRANSFER_ENCODING;
            last_chunked = span_eq_nocase(coding, SPAN_LIT("chunked"));
            if (last_chunked)
                chunked++;
            else
                others++;
        }
    }
    if (chunked != 1 || !last_chunked)
        return REASON_BAD_TRANSFER_ENCODING;
    return others > 0 ? REASON_UNKNOWN_CODING : REASON_NONE;
}

static bool read_content_length(struct http_head *head, const struct http_field *f)
{
    uint64_t n = 0;
    if (f->value_len == 0 || f->value_len > 18)
        return false;
    for (uint32_t i = 0; i < f->value_len; i++) {
        if (!is_digit(f->value[i]))
            return false;
        n = n * 10 + (uint64_t)(f->value[i] - '0');
    }
    head->content_length = n;
    return true;
}

/* Message body length (RFC 9112 section 6.3), the part that both directions share. */
static enum reason check_framing(struct http_head *head, const struct field_index *at)
{
    if (at->n_transfer_encoding > 0) {
        if (at->n_content_length > 0)
            return REASON_LENGTH_CONFLICT;
        if (head->minor == 0)
            return REASON_BAD_TRANSFER_ENCODING;
        head->body = BODY_CHUNKED;
        return check_codings(head);
    }
    if (at->n_content_length > 1 ||
        (at->n_content_length == 1 && !read_content_length(head, at->content_length)))
        return REASON_BAD_CONTENT_LENGTH;
    head->body = at->n_content_length == 1 ? BODY_LENGTH : BODY_NONE;
    return REASON_NONE;
}

/* ---- requests ---- */

static enum reason check_host(struct http_head *head, const struct field_index *at)
{
    if (at->n_host > 1)
        return REASON_BAD_HOST;
    if (at->n_host == 0)
        return head->minor == 0 ? REASON_NONE : REASON_MISSING_HOST;
    struct span host = field_value(at->host);
    if (!host_valid(host, true))
        return REASON_BAD_HOST;
    head->authority = host;
    return REASON_NONE;
}

/* A path that had to be normalised goes back to where it stood: it got no longer, and nobody needs
 * the raw one any more. */
static void settle_path(struct http_head *head, struct target *t, const char *scratch, size_t len)
{
    if (t->path.ptr < scratch || t->path.ptr >= scratch + len)
        return;
    const char *stood =
        t->authority.len > 0 ? t->authority.ptr + t->authority.len : head->target.ptr;
    memcpy((char *)(uintptr_t)stood, t->path.ptr, t->path.len);
    t->path.ptr = stood;
}

/* The target wins over the Host field (RFC 9112 section 3.2.2), and is what Host then says. */
static enum reason check_target(struct http_head *head, const struct field_index *at)
{
    struct target t;
    char scratch[H1_TARGET_MAX];
    bool options = span_eq(head->method, SPAN_LIT("OPTIONS"));
    CHECK(head->target.len <= sizeof(scratch));
    if (target_parse(head->target, head->is_connect, options, scratch, sizeof(scratch), &t) !=
        TARGET_OK)
        return REASON_BAD_TARGET;
    settle_path(head, &t, scratch, sizeof(scratch));
    head->path = t.path;
    head->query = t.query;
    head->has_query = t.has_query;
    if (t.authority.len == 0)
        return REASON_NONE;
    head->authority = t.authority;
    if (at->host != NULL) {
        at->host->value = t.authority.ptr;
        at->host->value_len = (uint32_t)t.authority.len;
    }
    return REASON_NONE;
}

enum reason h1_check_request(struct http_head *head)
{
    struct field_index at;
    index_fields(head, &at);
    enum reason bad = check_framing(head, &at);
    if (bad == REASON_NONE)
        bad = check_host(head, &at);
    if (bad == REASON_NONE)
        bad = check_target(head, &at);
    if (bad != REASON_NONE)
        return bad;
    if (head->is_connect)
        return REASON_CONNECT_METHOD;
    bool upgrade = false;
    if (at.n_connection > 0 && (bad = read_connection(head, &upgrade)) != REASON_NONE)
        return bad;
    if (head->minor == 0 && !head->keep_alive)
        head->close = true;
    if (upgrade && head->minor >= 1 && at.upgrade != NULL &&
        http_may_upgrade(field_value(at.upgrade)))
        head->upgrade = field_value(at.upgrade);
    head->expect_continue = head->minor >= 1 && at.expect != NULL && head->body != BODY_NONE &&
                            span_eq_nocase(field_value(at.expect), SPAN_LIT("100-continue"));
    return REASON_NONE;
}

/* ---- responses ---- */

enum reason h1_check_response(struct http_head *head, bool to_head, bool to_upgrade)
{
    struct field_index at;
    index_fields(head, &at);
    bool upgrade = false;
    if (at.n_connection > 0 && read_connection(head, &upgrade) != REASON_NONE)
        return REASON_BAD_RESPONSE;
    if (at.keep_alive != NULL)
        read_keep_alive(head, at.keep_alive);
    if (head->minor == 0 && !head->keep_alive)
        head->close = true;
    if (head->status == 101) {
        if (!to_upgrade || !upgrade || at.upgrade == NULL)
            return REASON_BAD_RESPONSE;
        head->upgrade = field_value(at.upgrade);
        head->body = BODY_TUNNEL;
        return REASON_NONE;
    }
    enum reason bad = check_framing(head, &at);
    if (bad != REASON_NONE)
        return REASON_BAD_RESPONSE;
    if (to_head || head->status < 200 || head->status == 204 || head->status == 304)
        head->body = BODY_NONE;
    else if (head->body == BODY_NONE)
        head->body = BODY_CLOSE;
    return REASON_NONE;
}
