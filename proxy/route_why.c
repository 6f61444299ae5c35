/* SPDX-License-Identifier: Apache-2.0 */
/* Judges rules one by one. Owns nothing but what it returns; changes nothing. Any thread. */
#include "proxy/route_why.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/route_table.h"

/* How specific what holds is: the larger, the better; the first that differs decides. */
struct fit {
    long host, path, method, fields;
};

#define EXACT 100000

/* -1: it does not fit. */
static long fit_pattern(struct span pattern, struct span host, bool cut)
{
    char buf[ROUTE_HOST_MAX];
    bool pattern_cut, wild = route_is_wildcard(pattern);
    if (wild)
        pattern = span_of(pattern.ptr + 2, pattern.len - 2);
    struct span key = route_host_key(pattern, buf, &pattern_cut);
    if (!wild)
        return !cut && span_eq(key, host) ? EXACT : -1;
    /* Something stands for the star: a byte at least, or what was cut off. */
    size_t at = host.len - key.len;
    bool fits = host.len > key.len && (at > 1 || cut) && host.ptr[at - 1] == '.' &&
                span_eq(span_of(host.ptr + at, key.len), key);
    return fits ? (long)key.len + 1 : -1;
}

static long fit_host(const struct route_conditions *rule, struct span asked, struct span *best_host)
{
    char buf[ROUTE_HOST_MAX];
    bool cut;
    struct span host = route_host_key(asked, buf, &cut);
    long best = rule->n_hosts > 0 ? -1 : 0;
    *best_host = span_of(NULL, 0);
    for (size_t i = 0; i < rule->n_hosts; i++) {
        long fit = fit_pattern(rule->hosts[i], host, cut);
        if (fit <= best)
            continue;
        best = fit;
        *best_host = rule->hosts[i];
    }
    return best;
}

static long fit_path(const struct route_conditions *rule, struct span path)
{
    if (rule->path_kind == ROUTE_EXACT)
        return span_eq(path, rule->path) ? EXACT : -1;
    struct span want = route_prefix(rule->path), element, wanted;
    long n = 0;
    if (path.len == 0 || path.ptr[0] != '/')
        path.len = 0; /* "*": no prefix but "/" */
    for (; route_next_element(&want, &wanted); n++)
        if (!route_next_element(&path, &element) || !span_eq(element, wanted))
            return -1;
    return n;
}

static long fit_method(const struct route_conditions *rule, struct span method)
{
    for (size_t i = 0; i < rule->n_methods; i++)
        if (span_eq(rule->methods[i], method))
            return 1;
    return rule->n_methods > 0 ? -1 : 0;
}

static struct fit fit_of(const struct route_table *t, const struct route_query *q, size_t index,
                         struct route_verdict *v)
{
    const struct route_conditions *rule = &t->rules[index];
    v->fields = (uint32_t)route_fields_hold(rule, q);
    return (struct fit){
        .host = fit_host(rule, q->host, &v->host),
        .path = fit_path(rule, q->path),
        .method = fit_method(rule, q->method),
        .fields = v->fields == rule->n_fields ? (long)rule->n_fields : -1,
    };
}

static enum route_why why_not(const struct fit *fit)
{
    if (fit->host < 0)
        return ROUTE_OTHER_HOST;
    if (fit->path < 0)
        return ROUTE_OTHER_PATH;
    if (fit->method < 0)
        return ROUTE_OTHER_METHOD;
    return fit->fields < 0 ? ROUTE_OTHER_FIELD : ROUTE_WON;
}

static enum route_why compare(const struct fit *fit, const struct fit *best)
{
    if (fit->host != best->host)
        return ROUTE_WIDE_HOST;
    if (fit->path != best->path)
        return ROUTE_SHORT_PATH;
    if (fit->method != best->method)
        return ROUTE_ANY_METHOD;
    return fit->fields != best->fields ? ROUTE_FEW_FIELDS : ROUTE_LATER;
}

void route_judge(const struct route_table *t, const struct route_query *q, size_t index,
                 const struct route *won, struct route_verdict *out)
{
    struct route_verdict other;
    CHECK(t->compiled && index < t->n_rules);
    *out = (struct route_verdict){.rule = (uint32_t)index};
    struct fit fit = fit_of(t, q, index, out);
    out->why = why_not(&fit);
    if (out->why != ROUTE_WON || won == NULL || won->index == index)
        return;
    struct fit best = fit_of(t, q, won->index, &other);
    out->why = compare(&fit, &best);
}

static int by_why(const void *a, const void *b)
{
    const struct route_verdict *va = a, *vb = b;
    if (va->why != vb->why)
        return va->why < vb->why ? -1 : 1;
    return va->rule < vb->rule ? -1 : 1;
}

struct route_verdict *route_judge_all(const struct route_table *t, const struct route_query *q,
                                      const struct route *won)
{
    struct route_verdict *all = mem_need(calloc(t->n_rules > 0 ? t->n_rules : 1, sizeof(*all)));
    for (size_t i = 0; i < t->n_rules; i++)
        route_judge(t, q, i, won, &all[i]);
    qsort(all, t->n_rules, sizeof(*all), by_why);
    return all;
}

/* ---- as text ---- */

struct text {
    char *out;
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    size_t room = ROUTE_WHY_TEXT - t->n;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->out + t->n, room, format, args);
    va_end(args);
    t->n += (size_t)n < room ? (size_t)n : room - 1;
}

static void put_list(struct text *t, const struct span *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(t, "%s%.*s", i == 0 ? "" : i + 1 < n ? ", " : " or ", (int)items[i].len, items[i].ptr);
}

static const char *kind_of(const struct route_conditions *rule)
{
    return rule->path_kind == ROUTE_EXACT ? "the path " : "the prefix ";
}

/* The conditions that it has, and that hold. */
static void put_won(struct text *t, const struct route_conditions *rule,
                    const struct route_verdict *v)
{
    put(t, "it matches");
    if (v->host.len > 0)
        put(t, " the host %.*s,", (int)v->host.len, v->host.ptr);
    if (rule->path.len > 0)
        put(t, " %s%.*s,", kind_of(rule), (int)rule->path.len, rule->path.ptr);
    if (rule->n_methods > 0)
        put(t, " the method,");
    if (rule->n_fields > 0)
        put(t, " %zu field%s,", rule->n_fields, rule->n_fields == 1 ? "" : "s");
    if (t->out[t->n - 1] == ',')
        t->n--;
    else
        put(t, " everything");
    put(t, ", and nothing more specific does");
}

static void put_field(struct text *t, const struct route_conditions *rule,
                      const struct route_query *q, const struct route_verdict *v)
{
    const struct route_field_match *f = &rule->fields[v->fields];
    struct span value = {0};
    unsigned n = route_answer(q, f->name, &value);
    if (span_eq(f->name, SPAN_LIT(ROUTE_LISTENER))) {
        put(t, "it is for the listener %.*s, and not for %.*s", (int)f->value.len, f->value.ptr,
            (int)value.len, value.ptr);
        return;
    }
    put(t, "it wants %.*s: %.*s, ", (int)f->name.len, f->name.ptr, (int)f->value.len, f->value.ptr);
    if (n == 0)
        put(t, "and there is no such field");
    else if (n > 1)
        put(t, "and that field stands there %u times", n);
    else
        put(t, "and not %.*s", (int)value.len, value.ptr);
}

const char *route_why_text(const struct route_table *table, const struct route_query *q,
                           const struct route_verdict *v, const struct route *won,
                           char text[ROUTE_WHY_TEXT])
{
    const struct route_conditions *rule = &table->rules[v->rule];
    struct text t = {text, 0};
    struct span name = won != NULL ? won->name : span_of("", 0);
    switch (v->why) {
    case ROUTE_WON:
        put_won(&t, rule, v);
        break;
    case ROUTE_LATER:
        put(&t, "it matches as well as %.*s, which stands before it", (int)name.len, name.ptr);
        break;
    case ROUTE_FEW_FIELDS:
        put(&t, "it matches, but %.*s asks for more fields", (int)name.len, name.ptr);
        break;
    case ROUTE_ANY_METHOD:
        put(&t, "it matches, but %.*s names the method", (int)name.len, name.ptr);
        break;
    case ROUTE_SHORT_PATH:
        CHECK(won != NULL); /* it is shorter than that one's */
        put(&t, "it matches, but the path of %.*s is %s", (int)name.len, name.ptr,
            table->rules[won->index].path_kind == ROUTE_EXACT ? "exact" : "longer");
        break;
    case ROUTE_WIDE_HOST:
        put(&t, "it matches, but the host of %.*s is more specific", (int)name.len, name.ptr);
        break;
    case ROUTE_OTHER_FIELD:
        put_field(&t, rule, q, v);
        break;
    case ROUTE_OTHER_METHOD:
        put(&t, "the method is not ");
        put_list(&t, rule->methods, rule->n_methods);
        break;
    case ROUTE_OTHER_PATH:
        put(&t, "the path is not %s%.*s", rule->path_kind == ROUTE_EXACT ? "" : "under ",
            (int)rule->path.len, rule->path.ptr);
        break;
    case ROUTE_OTHER_HOST:
        put(&t, "the host is not ");
        put_list(&t, rule->hosts, rule->n_hosts);
        break;
    case ROUTE_WHYS:
        break;
    }
    text[t.n] = '\0';
    return text;
}

static void put_any(struct text *t, const struct span *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(t, "%s%.*s", i > 0 ? "|" : t->n > 0 ? " " : "", (int)items[i].len, items[i].ptr);
}

const char *route_text(const struct route_table *table, size_t index, char text[ROUTE_WHY_TEXT])
{
    const struct route_conditions *rule = &table->rules[index];
    struct text t = {text, 0};
    text[0] = '\0';
    put_any(&t, rule->methods, rule->n_methods);
    put_any(&t, rule->hosts, rule->n_hosts);
    if (rule->path.len > 0)
        put(&t, "%s%.*s%s", t.n > 0 ? " " : "", (int)rule->path.len, rule->path.ptr,
            rule->path_kind == ROUTE_PREFIX ? "*" : "");
    for (size_t i = 0; i < rule->n_fields; i++) {
        const struct route_field_match *f = &rule->fields[i];
        bool listener = span_eq(f->name, SPAN_LIT(ROUTE_LISTENER));
        struct span name = listener ? SPAN_LIT("listener") : f->name;
        put(&t, "%s%.*s: %.*s", t.n > 0 ? " " : "", (int)name.len, name.ptr, (int)f->value.len,
            f->value.ptr);
    }
    if (t.n == 0)
        put(&t, "everything");
    return text;
}

const char *route_why_name(enum route_why why)
{
    static const char *const names[ROUTE_WHYS] = {
        "won",       "later",       "few_fields",   "any_method", "short_path",
        "wide_host", "other_field", "other_method", "other_path", "other_host"};
    return names[why];
}
