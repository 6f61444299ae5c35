/* SPDX-License-Identifier: Apache-2.0 */
/* Reading Accept. Owns nothing; any thread. */
#include "proxy/http/accept.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* qvalue (RFC 9110 section 12.4.2) in thousandths; what is none counts as 1. */
static int read_quality(struct span q)
{
    if (q.len == 0 || (q.ptr[0] != '0' && q.ptr[0] != '1'))
        return 1000;
    int value = q.ptr[0] == '1' ? 1000 : 0;
    int unit = 100;
    for (size_t i = 2; i < q.len && q.ptr[1] == '.' && is_digit(q.ptr[i]) && unit > 0; i++) {
        value += unit * (q.ptr[i] - '0');
        unit /= 10;
    }
    return value > 1000 ? 1000 : value;
}

/* The part before the next ';', trimmed; *rest is what follows. */
static struct span next_part(struct span *rest)
{
    const char *semi = rest->len > 0 ? memchr(rest->ptr, ';', rest->len) : NULL;
    size_t n = semi != NULL ? (size_t)(semi - rest->ptr) : rest->len;
    struct span part = span_trim(span_of(rest->ptr, n));
    *rest = semi != NULL ? span_of(semi + 1, rest->len - n - 1) : span_of(NULL, 0);
    return part;
}

int accept_quality(struct span accept, struct span type)
{
    struct span item;
    while (span_next_element(&accept, &item)) {
        if (!span_eq_nocase(next_part(&item), type))
            continue;
        while (item.len > 0) {
            struct span part = next_part(&item);
            if (part.len >= 2 && ascii_lower(part.ptr[0]) == 'q' && part.ptr[1] == '=')
                return read_quality(span_of(part.ptr + 2, part.len - 2));
        }
        return 1000;
    }
    return -1;
}

bool accept_prefers_json(const struct http_head *request)
{
    for (unsigned i = 0; i < request->n_fields; i++) {
        if (request->fields[i].id != FIELD_ACCEPT)
            continue;
        struct span accept = field_value(&request->fields[i]);
        int json = accept_quality(accept, SPAN_LIT("application/json"));
        int text = accept_quality(accept, SPAN_LIT("text/plain"));
        if (text < 0)
            text = accept_quality(accept, SPAN_LIT("text/*"));
        return json > 0 && json > text;
    }
    return false;
}
