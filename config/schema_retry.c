/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of retries: of a route's, and of a pool's budget for them. Constant data; any thread. */
#include <string.h>

#include "config/bind.h"
#include "config/rows.h"

static const struct schema_choice conditions[] = {
    {.name = "connect"},
    {.name = "reset"},
    {.name = "timeout"},
    {.name = "unavailable"},
    {.name = "408"},
    {.name = "409"},
    {.name = "425"},
    {.name = "429"},
    {.name = "500"},
    {.name = "502"},
    {.name = "503"},
    {.name = "504"},
    {0},
};

static const struct schema_row condition_elem = {
    CHOICE(NULL, config_str, text),
    .choices = conditions,
};

static const struct schema_items condition_items = {
    .size = sizeof(struct config_str),
    .elem = &condition_elem,
    .what = "one condition, such as connect or 503; for no retries, set attempts: 0",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_str, text, const char *),
};

static const struct schema_choice methods[] = {{.name = "POST"}, {.name = "PATCH"}, {0}};

static const struct schema_row method_elem = {
    CHOICE(NULL, config_str, text),
    .choices = methods,
};

static const struct schema_items method_items = {
    .size = sizeof(struct config_str),
    .elem = &method_elem,
    .what = "one method; without the key, none",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_str, text, const char *),
};

static const struct schema_row retry_rows[] = {
    {INT("attempts", config_retry, attempts), .dflt = "1", .min = 0, .max = 10, .word = "none",
     .word_value = 0, .doc = "Further attempts after the first, each on another endpoint."},
    {.key = "when",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &condition_items,
     .offset = FIELD(config_retry, when, struct config_str *),
     .count_offset = FIELD(config_retry, when_count, size_t),
     .min = 1,
     .doc = "After what: connect (no byte of the request was processed), reset (it ended without "
            "an answer), timeout (the endpoint is silent), a status, or unavailable (that of gRPC, "
            "without a message before it); connect, reset and timeout if not given. All but "
            "connect only if the request may be sent twice."},
    {.key = "methods",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &method_items,
     .offset = FIELD(config_retry, methods, struct config_str *),
     .count_offset = FIELD(config_retry, method_count, size_t),
     .min = 1,
     .doc = "Which requests may be sent twice, beside GET, HEAD, PUT, DELETE, OPTIONS and TRACE: "
            "POST or PATCH, if doing them twice does no harm."},
    {DURATION("backoff", config_retry, backoff_ms), .dflt = "25ms", .min = 0, .max = 60 * SECOND,
     .doc = "The longest pause before the first retry, of which a random part is waited; twice "
            "that before the second, and so on."},
    {DURATION("max_backoff", config_retry, max_backoff_ms), .dflt = "250ms", .min = 0,
     .max = 60 * SECOND, .doc = "The longest that it becomes."},
    {DURATION("retry_after", config_retry, retry_after_ms), .dflt = "1s", .min = 0,
     .max = 60 * SECOND,
     .doc = "The longest pause that an answer may ask for with Retry-After; one that asks for "
            "more is passed on."},
    {BOOL("same_endpoint", config_retry, same_endpoint), .dflt = "false",
     .doc = "Whether an endpoint that failed is asked again once there is no other."},
};

static bool lists(const struct config_str *list, size_t count, const char *text,
                  struct config_pos *pos)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].text, text) == 0) {
            *pos = list[i].pos;
            return true;
        }
    return false;
}

static void check_retry(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_retry *retry = obj;
    struct config_pos pos, unused;
    if (retry->max_backoff_ms < retry->backoff_ms)
        bind_error(b, bind_pos_of(node, "backoff", bind_pos_of(node, "max_backoff", retry->pos)),
                   "backoff is longer than max_backoff, the longest that it becomes; raise "
                   "max_backoff, or lower backoff");
    if (lists(retry->when, retry->when_count, "unavailable", &pos) &&
        !lists(retry->methods, retry->method_count, "POST", &unused))
        bind_error(b, pos,
                   "calls of gRPC are POSTs, which are not sent twice unless the route says so; "
                   "add methods: POST if doing them twice does no harm, or leave unavailable out");
}

const struct schema_table schema_retry = {
    .expected = "a number of attempts, or a mapping such as { attempts: 2, when: [connect, 503] }",
    ROWS(retry_rows),
    .short_key = "attempts",
    .own = true,
    .check = check_retry,
};

static const struct schema_row budget_rows[] = {
    {SCALAR("ratio", config_retry_budget, ratio, uint32_t, type_percent), .dflt = "20%", .min = 0,
     .max = 100, .word = "none", .word_value = CONFIG_RATIO_ANY,
     .doc = "How many retries there may be, of the requests of the window; none: any number."},
    {SCALAR("min", config_retry_budget, min, uint32_t, type_rate), .dflt = "10/s", .min = 0,
     .max = 1000000, .doc = "How many there may be even if the requests are few."},
    {DURATION("window", config_retry_budget, window_ms), .dflt = "10s", .min = SECOND, .max = HOUR,
     .doc = "Over which requests and retries are counted."},
};

const struct schema_table schema_retry_budget = {
    .expected = "a percentage such as 20%, or a mapping such as { ratio: 20%, min: 10/s }",
    ROWS(budget_rows),
    .short_key = "ratio",
    .own = true,
};
