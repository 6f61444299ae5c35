/* SPDX-License-Identifier: Apache-2.0 */
/* Finds a request's key. Owns nothing; must never keep a span. Any thread. */
#include "proxy/upstream/balance_key.h"

#include "balancer/hash.h"

/* The value of NAME=VALUE among pieces between `by`; empty if it is not there. */
static struct span find_value(struct span text, char by, struct span name)
{
    struct span piece, value;
    while (span_next_piece(&text, by, &piece))
        if (span_value_of(piece, name, &value))
            return value;
    return span_of(NULL, 0);
}

static struct span header_value(const struct http_head *head, struct span name)
{
    for (unsigned i = 0; i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), name))
            return field_value(&head->fields[i]);
    return span_of(NULL, 0);
}

/* Over HTTP/2 there may be a field for each cookie (RFC 9113 section 8.2.3). */
static struct span cookie_value(const struct http_head *head, struct span name)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (!span_eq_nocase(field_name(&head->fields[i]), SPAN_LIT("cookie")))
            continue;
        struct span value = find_value(field_value(&head->fields[i]), ';', name);
        if (value.len > 0)
            return value;
    }
    return span_of(NULL, 0);
}

/* The last that a trusted peer said: what stands before it may be anybody's word. */
static struct span client_address(const struct http_head *head, const struct http_peer *peer)
{
    struct span said = span_of(NULL, 0), element;
    for (unsigned i = 0; peer->trusted && i < head->n_fields; i++) {
        struct span list = field_value(&head->fields[i]);
        if (head->fields[i].id != FIELD_X_FORWARDED_FOR)
            continue;
        while (span_next_element(&list, &element))
            if (element.len > 0)
                said = element;
    }
    return said.len > 0 ? said : http_peer_host(peer);
}

static struct span key_of(const struct balance_key *key, const struct http_head *head,
                          const struct http_peer *peer)
{
    switch (key->kind) {
    case BALANCE_KEY_CLIENT_IP:
        return client_address(head, peer);
    case BALANCE_KEY_PATH:
        return head->path;
    case BALANCE_KEY_HEADER:
        return header_value(head, key->name);
    case BALANCE_KEY_COOKIE:
        return cookie_value(head, key->name);
    case BALANCE_KEY_QUERY:
        return find_value(head->query, '&', key->name);
    case BALANCE_KEY_NONE:
        break;
    }
    return span_of(NULL, 0);
}

uint64_t balance_key_hash(const struct balance_key *key, const struct http_head *head,
                          const struct http_peer *peer)
{
    struct span value = key_of(key, head, peer);
    return value.len > 0 ? lb_hash(value.ptr, value.len) : 0;
}
