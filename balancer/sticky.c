/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of endpoints, in a table of open addressing that is half full at most. Owns both; must
 * never change after it was attached. Any thread.
 */
#include "balancer/sticky.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/hash.h"
#include "proxy/base/mem.h"

struct lb_sticky {
    char (*tokens)[LB_TOKEN_LEN];
    uint32_t mask;    /* of slots */
    uint32_t slots[]; /* an endpoint's index, plus one; 0: empty */
};

/* The slot that holds it, or the empty one where it would be. */
static uint32_t slot_of(const struct lb_sticky *sticky, const char *token)
{
    uint32_t at = (uint32_t)lb_hash(token, LB_TOKEN_LEN) & sticky->mask;
    while (sticky->slots[at] != 0 &&
           memcmp(sticky->tokens[sticky->slots[at] - 1], token, LB_TOKEN_LEN) != 0)
        at = (at + 1) & sticky->mask;
    return at;
}

void lb_sticky_attach(struct lb_group *group, char (*tokens)[LB_TOKEN_LEN])
{
    uint32_t slots = 2;
    CHECK(group->sticky == NULL);
    while (slots < 2 * group->count)
        slots *= 2;
    struct lb_sticky *sticky =
        mem_need(calloc(1, sizeof(*sticky) + slots * sizeof(sticky->slots[0])));
    sticky->mask = slots - 1;
    sticky->tokens = mem_need(malloc((size_t)group->count * LB_TOKEN_LEN));
    memcpy(sticky->tokens, tokens, (size_t)group->count * LB_TOKEN_LEN);
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t at = slot_of(sticky, tokens[i]);
        if (sticky->slots[at] == 0)
            sticky->slots[at] = i + 1;
    }
    group->sticky = sticky;
}

int32_t lb_sticky_find(const struct lb_group *group, const char *text, size_t len)
{
    const struct lb_sticky *sticky = group->sticky;
    return len == LB_TOKEN_LEN ? (int32_t)sticky->slots[slot_of(sticky, text)] - 1 : LB_NONE;
}

const char *lb_sticky_token(const struct lb_group *group, uint32_t index)
{
    CHECK(index < group->count);
    return group->sticky->tokens[index];
}

void lb_sticky_free(struct lb_sticky *sticky)
{
    if (sticky == NULL)
        return;
    free(sticky->tokens);
    free(sticky);
}
