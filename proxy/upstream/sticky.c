/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes the cookie of a session. Owns nothing; must never keep a span. Any thread. */
#include "proxy/upstream/sticky.h"

#include <string.h>

#include "proxy/base/check.h"

static int32_t find_in(const struct sticky *sticky, const struct lb_group *group, struct span line)
{
    struct span piece, value;
    while (span_next_piece(&line, ';', &piece)) {
        if (!span_value_of(piece, sticky->cookie, &value))
            continue;
        int32_t endpoint = lb_sticky_find(group, value.ptr, value.len);
        if (endpoint != LB_NONE)
            return endpoint;
    }
    return LB_NONE;
}

int32_t sticky_find(const struct sticky *sticky, const struct lb_group *group,
                    const struct http_head *head)
{
    int32_t endpoint = LB_NONE;
    if (sticky->cookie.len == 0)
        return LB_NONE;
    for (unsigned i = 0; endpoint == LB_NONE && i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), SPAN_LIT("cookie")))
            endpoint = find_in(sticky, group, field_value(&head->fields[i]));
    return endpoint;
}

static char *put(char *at, struct span s)
{
    memcpy(at, s.ptr, s.len);
    return at + s.len;
}

void sticky_tell(const struct sticky *sticky, const struct lb_group *group, uint32_t endpoint,
                 bool secure, struct http_head *head, char text[STICKY_TEXT])
{
    char *at = put(text, sticky->cookie);
    at = put(at, SPAN_LIT("="));
    at = put(at, span_of(lb_sticky_token(group, endpoint), LB_TOKEN_LEN));
    at = put(at, sticky->attributes);
    if (secure)
        at = put(at, SPAN_LIT("; Secure"));
    DCHECK(at - text <= STICKY_TEXT);
    http_head_add(head, FIELD_OTHER, SPAN_LIT("Set-Cookie"), span_of(text, (size_t)(at - text)));
    head->fields[head->n_fields - 1].flags = FIELD_SECRET;
}
