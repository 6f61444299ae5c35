/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Formats of the access log. All three are templates: json and clf are two of ours, and differ from
 * a user's in how a string is escaped and in a few fields that only they have. Owns the compiled
 * steps; formatting a line allocates nothing, makes no system call and reads no clock.
 */
#include "proxy/access_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/base/check.h"

enum { CHUNK = 16 };

enum step_kind {
    STEP_END, /* only a prefix: the end of the line */
    STEP_STRING,
    STEP_U32,
    STEP_U64,
    STEP_MS,
    STEP_TIME,
    STEP_TRAIL,
    STEP_CLF_TIME,
    STEP_CLF_BYTES,
    STEP_CLIENT_IP,
};

/* How a string is written. */
enum style {
    STYLE_JSON,
    STYLE_TEXT, /* "-" if empty; \" \\ \n \r \t, and \xHH for all else that is no printable ASCII */
};

/* A literal text and the field after it. */
struct step {
    const char *text; /* into the format's own copy */
    uint32_t len;
    uint16_t offset; /* of the field in a record */
    uint8_t kind;
};

struct access_format {
    enum style style;
    unsigned count;
    char *literals; /* with CHUNK bytes more, since they are copied in chunks */
    struct step steps[];
};

static const struct field {
    const char *name;
    enum step_kind kind;
    size_t offset;
    bool internal; /* not for a user's template */
} fields[] = {
#define FIELD(name, kind)                                        \
    {                                                            \
#name, kind, offsetof(struct access_record, name), false \
    }
#define FIELD_AS(name, kind, member, internal)                       \
    {                                                                \
        name, kind, offsetof(struct access_record, member), internal \
    }
    FIELD_AS("time", STEP_TIME, time_us, false),
    FIELD(id, STEP_STRING),
    FIELD(client, STEP_STRING),
    FIELD(listener, STEP_STRING),
    FIELD(method, STEP_STRING),
    FIELD(host, STEP_STRING),
    FIELD(path, STEP_STRING),
    FIELD(protocol, STEP_STRING),
    FIELD(route, STEP_STRING),
    FIELD(pool, STEP_STRING),
    FIELD(endpoint, STEP_STRING),
    FIELD(attempts, STEP_U32),
    FIELD(status, STEP_U32),
    FIELD(bytes_in, STEP_U64),
    FIELD(bytes_out, STEP_U64),
    FIELD_AS("queue_ms", STEP_MS, queue_us, false),
    FIELD_AS("connect_ms", STEP_MS, connect_us, false),
    FIELD_AS("first_byte_ms", STEP_MS, first_byte_us, false),
    FIELD_AS("total_ms", STEP_MS, total_us, false),
    FIELD(reason, STEP_STRING),
    FIELD(trail, STEP_TRAIL),
    FIELD(referer, STEP_STRING),
    FIELD(user_agent, STEP_STRING),
    FIELD(trace_id, STEP_STRING),
    FIELD(span_id, STEP_STRING),
    FIELD(parent_id, STEP_STRING),
    FIELD_AS("clf_time", STEP_CLF_TIME, time_us, true),
    FIELD_AS("clf_bytes", STEP_CLF_BYTES, bytes_out, true),
    FIELD_AS("client_ip", STEP_CLIENT_IP, client, true),
};

/* Those of "json", in this order. */
static const char *const json_fields[] = {
    "time",      "id",       "client",     "listener",      "method",   "host",   "path",
    "protocol",  "route",    "pool",       "endpoint",      "attempts", "status", "bytes_in",
    "bytes_out", "queue_ms", "connect_ms", "first_byte_ms", "total_ms", "reason", "trail",
};

static const char clf_template[] =
    "{client_ip} - - [{clf_time}] \"{method} {path} {protocol}\" {status} {clf_bytes} "
    "\"{referer}\" \"{user_agent}\"";

static const struct field *find_field(struct span name, bool internal)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (span_eq(name, span_str(fields[i].name)) && (internal || !fields[i].internal))
            return &fields[i];
    return NULL;
}

static size_t append_text(char *err, size_t err_len, size_t at, const char *text)
{
    int n = at < err_len ? snprintf(err + at, err_len - at, "%s", text) : 0;
    return at + (size_t)(n > 0 ? n : 0);
}

static void say_unknown(char *err, size_t err_len, struct span name, size_t position)
{
    int shown = name.len < 40 ? (int)name.len : 40;
    int n = snprintf(err, err_len, "unknown field {%.*s} at position %zu; the fields are", shown,
                     name.ptr, position);
    size_t at = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].internal)
            continue;
        at = append_text(err, err_len, at, i ? ", " : " ");
        at = append_text(err, err_len, at, fields[i].name);
    }
}

/* A template on its way into steps. */
struct compiler {
    struct access_format *format;
    const char *text; /* the whole template */
    bool internal;
    char *out; /* where the next literal byte goes */
    char *err;
    size_t err_len;
};

static struct step *open_step(struct compiler *c)
{
    struct step *step = &c->format->steps[c->format->count];
    if (!step->text)
        step->text = c->out;
    return step;
}

static void add_literal(struct compiler *c, char byte)
{
    struct step *step = open_step(c);
    *c->out++ = byte;
    step->len++;
}

/* p is after a '{'; returns what follows the '}', or NULL. */
static const char *add_field(struct compiler *c, const char *p)
{
    size_t position = (size_t)(p - c->text);
    const char *close = strchr(p, '}');
    if (!close) {
        snprintf(c->err, c->err_len, "'{' at position %zu has no '}' ('{{' is a plain one)",
                 position);
        return NULL;
    }
    struct span name = span_of(p, (size_t)(close - p));
    const struct field *field = find_field(name, c->internal);
    if (!field) {
        say_unknown(c->err, c->err_len, name, position);
        return NULL;
    }
    struct step *step = open_step(c);
    step->kind = (uint8_t)field->kind;
    step->offset = (uint16_t)field->offset;
    c->format->count++;
    return close + 1;
}

static bool compile(struct compiler *c)
{
    for (const char *p = c->text; *p;) {
        if ((unsigned char)*p < 0x20 && *p != '\t') {
            snprintf(c->err, c->err_len, "control character at position %zu",
                     (size_t)(p - c->text) + 1);
            return false;
        }
        if (p[0] == '{' && p[1] != '{') {
            p = add_field(c, p + 1);
            if (!p)
                return false;
            continue;
        }
        p += *p == '{';
        add_literal(c, *p++);
    }
    if (c->format->count == 0) {
        snprintf(c->err, c->err_len, "expected json, clf, or a template with at least one {field}");
        return false;
    }
    add_literal(c, '\n');
    c->format->count++;
    return true;
}

static struct access_format *new_template(const char *text, enum style style, bool internal,
                                          char *err, size_t err_len)
{
    size_t len = strlen(text), steps = 1;
    for (const char *p = text; *p; p++)
        steps += *p == '{';
    struct access_format *format = calloc(1, sizeof *format + steps * sizeof format->steps[0]);
    if (format)
        format->literals = calloc(1, len + 1 + CHUNK);
    if (!format || !format->literals) {
        snprintf(err, err_len, "out of memory");
        free(format);
        return NULL;
    }
    format->style = style;
    struct compiler c = {.format = format,
                         .text = text,
                         .internal = internal,
                         .out = format->literals,
                         .err = err,
                         .err_len = err_len};
    if (!compile(&c)) {
        access_format_free(format);
        return NULL;
    }
    return format;
}

static bool is_quoted(const struct field *field)
{
    return field->kind == STEP_STRING || field->kind == STEP_TIME;
}

/* Appends the template of one member. */
static char *put_member(char *at, const char *name, bool first)
{
    const struct field *field = find_field(span_str(name), false);
    const char *quote = field != NULL && is_quoted(field) ? "\"" : "";
    return at + sprintf(at, "%s\"%s\":%s{%s}%s", first ? "" : ",", name, quote, name, quote);
}

struct access_format *access_format_json(const char *const *names, size_t n, char *err,
                                         size_t err_len)
{
    size_t size = 4;
    for (size_t i = 0; i < n; i++)
        size += 2 * strlen(names[i]) + 8;
    char *text = malloc(size), *at = text;
    if (text == NULL) {
        snprintf(err, err_len, "out of memory");
        return NULL;
    }
    at = stpcpy(at, "{{");
    for (size_t i = 0; i < n; i++)
        at = put_member(at, names[i], i == 0);
    memcpy(at, "}", 2);
    struct access_format *format = new_template(text, STYLE_JSON, true, err, err_len);
    free(text);
    return format;
}

struct access_format *access_format_new(const char *text, char *err, size_t err_len)
{
    if (strcmp(text, "json") == 0)
        return access_format_json(json_fields, ARRAY_LEN(json_fields), err, err_len);
    if (strcmp(text, "clf") == 0)
        return new_template(clf_template, STYLE_TEXT, true, err, err_len);
    return new_template(text, STYLE_TEXT, false, err, err_len);
}

void access_format_free(struct access_format *format)
{
    if (!format)
        return;
    free(format->literals);
    free(format);
}

/* A line has twenty short literals: a call of memcpy for each would take a third of its time. */
static void put_literal(struct json *out, const struct step *step)
{
    if (__builtin_expect(out->cap - out->len < step->len + (size_t)CHUNK, 0)) {
        json_raw(out, step->text, step->len);
        return;
    }
    char *dst = out->buf + out->len;
    for (size_t i = 0; i < step->len; i += CHUNK)
        memcpy(dst + i, step->text + i, CHUNK);
    out->len += step->len;
}

static void put_text_escape(struct json *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[128] = {
        ['"'] = '"', ['\\'] = '\\', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    char text[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
    bool letter = c < 128 && letters[c];
    if (letter)
        text[1] = letters[c];
    json_raw(out, text, letter ? 2 : 4);
}

static void put_text(struct json *out, struct span s)
{
    if (s.len == 0)
        json_raw(out, "-", 1);
    while (s.len > 0 && json_room(out, s.len)) {
        size_t n = json_raw_plain(out, s);
        if (n < s.len)
            put_text_escape(out, (unsigned char)s.ptr[n++]);
        s = span_of(s.ptr + n, s.len - n);
    }
}

static void put_string(struct json *out, enum style style, struct span s)
{
    if (style == STYLE_JSON)
        json_raw_escaped(out, s);
    else
        put_text(out, s);
}

/* Takes the first entry off, up to a newline. */
static struct span take_entry(struct span *trail)
{
    const char *newline = memchr(trail->ptr, '\n', trail->len);
    size_t n = newline ? (size_t)(newline - trail->ptr) : trail->len;
    struct span entry = span_of(trail->ptr, n);
    n += newline != NULL;
    *trail = span_of(trail->ptr + n, trail->len - n);
    return entry;
}

static void put_trail(struct json *out, enum style style, struct span trail)
{
    if (style == STYLE_JSON) {
        out->comma = false;
        json_array_begin(out);
        while (trail.len > 0)
            json_string(out, take_entry(&trail));
        json_array_end(out);
        return;
    }
    if (trail.len == 0)
        json_raw(out, "-", 1);
    while (trail.len > 0) {
        put_text(out, take_entry(&trail));
        if (trail.len > 0)
            json_raw(out, ", ", 2);
    }
}

/* "127.0.0.1:5123" and "[::1]:5123" without port and brackets; all else as it is. */
static struct span client_ip(struct span client)
{
    size_t n = client.len;
    while (n > 0 && client.ptr[n - 1] >= '0' && client.ptr[n - 1] <= '9')
        n--;
    if (n < 2 || n == client.len || client.ptr[n - 1] != ':')
        return client;
    struct span ip = span_of(client.ptr, n - 1);
    if (ip.ptr[0] == '[' && ip.ptr[ip.len - 1] == ']')
        ip = span_of(ip.ptr + 1, ip.len - 2);
    return ip;
}

#define LAST_SECOND UINT64_C(253402300799) /* of the year 9999 */

static void set_clock(struct access_clock *clock, uint64_t second)
{
    if (clock->key == second + 1)
        return;
    time_t t = (time_t)(second < LAST_SECOND ? second : LAST_SECOND);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(clock->iso, sizeof clock->iso, "%Y-%m-%dT%H:%M:%S.", &tm);
    /* The names of months are C's: weir never calls setlocale. */
    strftime(clock->clf, sizeof clock->clf, "%d/%b/%Y:%H:%M:%S +0000", &tm);
    clock->key = second + 1;
}

static void put_time(struct json *out, struct access_clock *clock, uint64_t time_us)
{
    unsigned ms = (unsigned)(time_us / 1000 % 1000);
    char text[sizeof clock->iso + 3];
    set_clock(clock, time_us / 1000000);
    memcpy(text, clock->iso, 20);
    text[20] = (char)('0' + ms / 100);
    text[21] = (char)('0' + ms / 10 % 10);
    text[22] = (char)('0' + ms % 10);
    text[23] = 'Z';
    json_raw(out, text, 24);
}

static void put_field(struct json *out, enum style style, const struct step *step,
                      const struct access_record *record, struct access_clock *clock)
{
    const char *member = (const char *)record + step->offset;
    switch ((enum step_kind)step->kind) {
    case STEP_END:
        break;
    case STEP_STRING:
        put_string(out, style, *(const struct span *)(const void *)member);
        break;
    case STEP_U32:
        json_raw_u64(out, *(const uint32_t *)(const void *)member);
        break;
    case STEP_U64:
        json_raw_u64(out, *(const uint64_t *)(const void *)member);
        break;
    case STEP_MS:
        json_raw_ms(out, *(const uint64_t *)(const void *)member);
        break;
    case STEP_TIME:
        put_time(out, clock, record->time_us);
        break;
    case STEP_TRAIL:
        put_trail(out, style, record->trail);
        break;
    case STEP_CLF_TIME:
        set_clock(clock, record->time_us / 1000000);
        json_raw(out, clock->clf, sizeof clock->clf - 1);
        break;
    case STEP_CLF_BYTES:
        if (record->bytes_out == 0)
            json_raw(out, "-", 1);
        else
            json_raw_u64(out, record->bytes_out);
        break;
    case STEP_CLIENT_IP:
        put_text(out, client_ip(record->client));
        break;
    }
}

void access_format_line(const struct access_format *format, const struct access_record *record,
                        struct access_clock *clock, struct json *out)
{
    for (unsigned i = 0; i < format->count; i++) {
        const struct step *step = &format->steps[i];
        put_literal(out, step);
        put_field(out, format->style, step, record, clock);
    }
}
