/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A route table and requests, as lines of text: the compiled matcher must find the rule that trying
 * all of them in turn finds, by the precedence that proxy/route.h documents.
 *
 *   E HOST,... PATH METHOD,... NAME=VALUE,...     a rule with an exact path
 *   P ...                                         ... a prefix
 *   Q HOST PATH METHOD NAME=VALUE,... LISTENER    a request
 *
 * "-" is an empty list, or an empty text. A NAME with a colon in front, which no field has, is that
 * of the listener. Other lines mean nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/route_why.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RULES = 40, LIST = 5 };

struct list {
    struct span items[LIST];
    size_t n;
};

struct rule {
    struct list hosts, methods;
    struct route_field_match fields[LIST];
    size_t n_fields;
    struct span path;
    bool exact;
};

struct asked {
    struct span host, path, method, listener;
    struct route_field_match lines[LIST];
    size_t n_lines;
};

/* ---- reading ---- */

static struct span until(struct span *rest, char stop)
{
    const char *at = rest->len > 0 ? memchr(rest->ptr, stop, rest->len) : NULL;
    size_t n = at != NULL ? (size_t)(at - rest->ptr) : rest->len;
    struct span part = span_of(rest->ptr, n);
    *rest = at != NULL ? span_of(at + 1, rest->len - n - 1) : span_of("", 0);
    return part;
}

static struct span text_of(struct span *line)
{
    struct span s = until(line, ' ');
    return span_eq(s, SPAN_LIT("-")) ? span_of("", 0) : s;
}

static struct list list_of(struct span *line)
{
    struct list l = {.n = 0};
    struct span s = text_of(line);
    while (s.len > 0 && l.n < LIST)
        l.items[l.n++] = until(&s, ',');
    return l;
}

static size_t fields_of(struct span *line, struct route_field_match *fields)
{
    struct list l = list_of(line);
    for (size_t i = 0; i < l.n; i++) {
        struct span value = l.items[i];
        fields[i].name = until(&value, '=');
        fields[i].value = value;
        if (span_starts(fields[i].name, SPAN_LIT(":")))
            fields[i].name = SPAN_LIT(ROUTE_LISTENER);
    }
    return l.n;
}

/* ---- trying every rule ---- */

/* Without a port, brackets and a dot at the end. */
static struct span bare(struct span host)
{
    size_t colons = 0;
    for (size_t i = 0; i < host.len; i++)
        colons += host.ptr[i] == ':';
    if (host.len > 0 && host.ptr[0] == '[') {
        const char *end = memchr(host.ptr, ']', host.len);
        if (end != NULL)
            host = span_of(host.ptr + 1, (size_t)(end - host.ptr) - 1);
    } else if (colons == 1) {
        struct span rest = host;
        host = until(&rest, ':');
    }
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    return host;
}

/* How well it fits: -1 not, 0 there is no condition, else the better the larger. */
static long fit_host(const struct rule *r, struct span asked)
{
    struct span host = bare(asked);
    long best = r->hosts.n > 0 ? -1 : 0;
    for (size_t i = 0; i < r->hosts.n; i++) {
        struct span pattern = r->hosts.items[i];
        long fit = -1;
        if (span_starts(pattern, SPAN_LIT("*."))) {
            pattern = bare(span_of(pattern.ptr + 2, pattern.len - 2));
            if (host.len > pattern.len + 1 && host.ptr[host.len - pattern.len - 1] == '.' &&
                span_eq_nocase(span_of(host.ptr + host.len - pattern.len, pattern.len), pattern))
                fit = (long)pattern.len + 1;
        } else if (span_eq_nocase(host, bare(pattern))) {
            fit = 100000;
        }
        best = fit > best ? fit : best;
    }
    return best;
}

static long fit_path(const struct rule *r, struct span path)
{
    struct span want = r->path;
    if (r->exact)
        return span_eq(path, want) ? 100000 : -1;
    if (want.len > 0 && want.ptr[want.len - 1] == '/')
        want.len--;
    if (want.len == 0)
        return 0;
    bool fits = span_starts(path, want) && (path.len == want.len || path.ptr[want.len] == '/');
    return fits ? (long)want.len : -1;
}

static long fit_method(const struct rule *r, struct span method)
{
    for (size_t i = 0; i < r->methods.n; i++)
        if (span_eq(r->methods.items[i], method))
            return 1;
    return r->methods.n > 0 ? -1 : 0;
}

static bool field_holds(const struct route_field_match *f, const struct asked *a)
{
    size_t seen = 0, right = 0;
    if (span_eq(f->name, SPAN_LIT(ROUTE_LISTENER)))
        return span_eq(a->listener, f->value);
    for (size_t i = 0; i < a->n_lines; i++) {
        if (!span_eq_nocase(a->lines[i].name, f->name))
            continue;
        seen++;
        right += span_eq(a->lines[i].value, f->value);
    }
    return seen == 1 && right == 1;
}

static long fit_fields(const struct rule *r, const struct asked *a)
{
    for (size_t i = 0; i < r->n_fields; i++)
        if (!field_holds(&r->fields[i], a))
            return -1;
    return (long)r->n_fields;
}

static long try_every_rule(const struct rule *rules, size_t n, const struct asked *a)
{
    long best = -1, best_fit[4] = {-1, -1, -1, -1};
    for (size_t i = 0; i < n; i++) {
        const long fit[4] = {fit_host(&rules[i], a->host), fit_path(&rules[i], a->path),
                             fit_method(&rules[i], a->method), fit_fields(&rules[i], a)};
        bool holds = fit[0] >= 0 && fit[1] >= 0 && fit[2] >= 0 && fit[3] >= 0;
        int k = 0;
        while (k < 3 && fit[k] == best_fit[k])
            k++;
        if (holds && fit[k] > best_fit[k]) {
            best = (long)i;
            memcpy(best_fit, fit, sizeof(fit));
        }
    }
    return best;
}

/* ---- asking the table ---- */

static unsigned ask_field(const void *ctx, struct span name, struct span *value)
{
    const struct asked *a = ctx;
    unsigned n = 0;
    for (size_t i = 0; i < a->n_lines; i++)
        if (span_eq_nocase(a->lines[i].name, name) && n++ == 0)
            *value = a->lines[i].value;
    return n;
}

static bool holds(const struct rule *r, const struct asked *a)
{
    return fit_host(r, a->host) >= 0 && fit_path(r, a->path) >= 0 &&
           fit_method(r, a->method) >= 0 && fit_fields(r, a) >= 0;
}

/* Who explains sees it as who looks up: the same rules hold, and nobody wins but the route that was
 * found. */
static void judge(const struct route_table *t, const struct rule *rules, size_t n,
                  const struct asked *a, const struct route_query *q, const struct route *found)
{
    for (size_t i = 0; i < n; i++) {
        struct route_verdict v;
        char text[ROUTE_WHY_TEXT];
        route_judge(t, q, i, NULL, &v);
        CHECK((v.why == ROUTE_WON) == holds(&rules[i], a));
        route_judge(t, q, i, found, &v);
        CHECK((v.why == ROUTE_WON) == (found != NULL && found->index == i));
        CHECK(route_why_text(t, q, &v, found, text)[0] != '\0');
    }
}

static void ask(const struct route_table *t, const struct rule *rules, size_t n,
                const struct asked *a)
{
    struct route_query q = {.host = a->host,
                            .path = a->path,
                            .method = a->method,
                            .listener = a->listener,
                            .field = ask_field,
                            .field_ctx = a};
    const struct route *found = route_find(t, &q);
    CHECK((found != NULL ? (long)found->index : -1) == try_every_rule(rules, n, a));
    judge(t, rules, n, a, &q, found);
}

static bool add_rule(struct route_table *t, struct rule *r, struct span *line, bool exact)
{
    r->exact = exact;
    r->hosts = list_of(line);
    r->path = text_of(line);
    r->methods = list_of(line);
    r->n_fields = fields_of(line, r->fields);
    struct route_rule rule = {.name = SPAN_LIT("r"),
                              .hosts = r->hosts.items,
                              .n_hosts = r->hosts.n,
                              .path_kind = exact ? ROUTE_EXACT : ROUTE_PREFIX,
                              .path = r->path,
                              .methods = r->methods.items,
                              .n_methods = r->methods.n,
                              .fields = r->fields,
                              .n_fields = r->n_fields};
    return route_table_add(t, &rule) >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of((const char *)data, size);
    struct rule *rules = calloc(RULES, sizeof(rules[0]));
    struct route_table *t = route_table_new();
    size_t n = 0;
    CHECK(rules != NULL);
    while (rest.len > 0 && n < RULES) {
        struct span line = until(&rest, '\n'), kind = until(&line, ' ');
        if (span_eq(kind, SPAN_LIT("E")) || span_eq(kind, SPAN_LIT("P")))
            n += add_rule(t, &rules[n], &line, kind.ptr[0] == 'E');
    }
    route_table_compile(t);
    for (rest = span_of((const char *)data, size); rest.len > 0;) {
        struct span line = until(&rest, '\n');
        if (!span_eq(until(&line, ' '), SPAN_LIT("Q")))
            continue;
        struct asked a = {.host = text_of(&line)};
        a.path = text_of(&line);
        a.method = text_of(&line);
        a.n_lines = fields_of(&line, a.lines);
        a.listener = text_of(&line);
        if (span_eq(a.path, SPAN_LIT("*")) || (a.path.len > 0 && a.path.ptr[0] == '/'))
            ask(t, rules, n, &a);
    }
    route_table_free(t);
    free(rules);
    return 0;
}
