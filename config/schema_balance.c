/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of how a pool is balanced. Constant data; any thread. */
#include <string.h>

#include "balancer/policy.h"
#include "config/bind.h"
#include "config/rows.h"

static const struct schema_choice policies[] = {
    {.name = "p2c"},       {.name = "round_robin"}, {.name = "least_conn"}, {.name = "random"},
    {.name = "peak_ewma"}, {.name = "ring_hash"},   {.name = "maglev"},     {0},
};

static const struct schema_choice key_parts[] = {{.name = "client_ip"}, {.name = "path"}, {0}};

/* What stands between '&' and '=' in a query, or between ';' and '=' in a Cookie field. */
static bool accept_key_name(struct bind *b, const struct tree_node *node, const char **text)
{
    if (**text != '\0' && (*text)[strcspn(*text, "=&;, \t\"")] == '\0')
        return true;
    bind_error(b, node->pos, "%s is not a name: it is empty, or has one of = & ; , \" or a space",
               bind_quote(b, *text));
    return false;
}

#define KEY_NAME .accept = accept_key_name, .pattern = "^[^=&;, \\t\"]+$", .expected = "a name"

static const struct schema_row key_rows[] = {
    {CHOICE("part", config_key, part), .choices = key_parts,
     .doc = "client_ip (as a trusted proxy told it, or the connection's) or path (without the "
            "query)."},
    {STRING("header", config_key, header), .accept = grammar_field_name,
     .pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", .expected = "the name of a field",
     .doc = "The value of this request header field."},
    {STRING("cookie", config_key, cookie), KEY_NAME, .doc = "The value of this cookie."},
    {STRING("query", config_key, query), KEY_NAME,
     .doc = "The value of this parameter of the query, as sent."},
};

const struct schema_table schema_key = {
    .expected = "client_ip or path, or a mapping such as { header: x-user }, { cookie: session } "
                "or { query: user }",
    ROWS(key_rows),
    .short_key = "part",
    .own = true,
    .exactly_one = true,
};

static bool is_keyed(const void *obj)
{
    const struct config_balance *balance = obj;
    const struct lb_policy *policy = lb_policy_find(balance->policy);
    return policy != NULL && policy->uses_key;
}

static bool is_free(const void *obj)
{
    return !is_keyed(obj);
}

#define KEYED .applies = is_keyed, .applies_to = "ring_hash and maglev"

static const struct schema_row balance_rows[] = {
    {CHOICE("policy", config_balance, policy), .choices = policies, .dflt = "p2c",
     .doc = "How an endpoint is picked, by weight: p2c (the less busy of two drawn at random), "
            "round_robin (in turn), least_conn (the least busy), random, peak_ewma (of two, the "
            "one that is expected to answer sooner); ring_hash and maglev (always the same one "
            "for a key)."},
    {.key = "key",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_key,
     .offset = FIELD(config_balance, key, struct config_key),
     .present_offset = FIELD(config_balance, key.enabled, bool),
     KEYED,
     .doc = "What requests have in common that go to the same endpoint; those without it go to "
            "any."},
    {SCALAR("bound", config_balance, bound, uint32_t, type_percent), KEYED, .dflt = "none",
     .min = 101, .max = 10000, .word = "none", .word_value = 0,
     .doc = "Of the mean load, how much an endpoint may have in flight before its keys go to "
            "others."},
    {INT("subset", config_balance, subset), .applies = is_free,
     .applies_to = "policies that go by no key: by one, all workers have to agree", .dflt = "none",
     .min = 1, .max = LB_ENDPOINTS_MAX, .word = "none", .word_value = 0,
     .doc = "How many endpoints a worker uses of a very large pool, the same ones each time; "
            "instance makes those of all processes even."},
};

static void check_balance(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_balance *balance = obj;
    (void)node;
    if (is_keyed(balance) && !balance->key.enabled)
        bind_error(b, balance->pos,
                   "%s needs a key, which says what requests to the same endpoint have in common: "
                   "{ policy: %s, key: client_ip }, or path, { header: NAME }, { cookie: NAME } "
                   "or { query: NAME }",
                   balance->policy, balance->policy);
}

const struct schema_table schema_balance = {
    .expected = "a policy, or a mapping such as { policy: ring_hash, key: client_ip }",
    ROWS(balance_rows),
    .short_key = "policy",
    .own = true,
    .check = check_balance,
};
