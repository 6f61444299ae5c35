/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a pool's outlier detection. Constant data; any thread. */
#include "config/bind.h"
#include "config/rows.h"

static const struct schema_choice modes[] = {
    {.name = "enforce", .value = CONFIG_OUTLIER_ENFORCE},
    {.name = "observe", .value = CONFIG_OUTLIER_OBSERVE},
    {.name = "none", .value = CONFIG_OUTLIER_NONE},
    {0},
};

#define MODE(tag) SCALAR("mode", tag, mode, enum config_outlier_mode, type_enum), .choices = modes
#define RULE_MODE(preset)                                                                       \
    {                                                                                           \
        MODE(config_outlier_rule), .dflt = preset,                                              \
                                   .doc = "enforce, observe (only count and log whom it would " \
                                          "eject) or none."                                     \
    }
#define ENDPOINTS(preset)                                              \
    {                                                                  \
        INT("endpoints", config_outlier_rule, endpoints),              \
            .dflt = preset, .min = 3, .max = 1000,                     \
            .doc = "How many endpoints must have had enough requests." \
    }
#define REQUESTS                                                                 \
    {                                                                            \
        INT("requests", config_outlier_rule, requests),                          \
            .dflt = "100", .min = 1, .max = 1000000,                             \
            .doc = "How many requests of an endpoint in an interval are enough." \
    }

static const struct schema_row success_rate_rows[] = {
    RULE_MODE("enforce"),
    {SCALAR("factor", config_outlier_rule, factor, uint32_t, type_percent), .dflt = "190%",
     .min = 50, .max = 1000,
     .doc = "Of a standard deviation, how far below the pool's mean an endpoint's success rate "
            "may be; 5% of the requests in any case."},
    ENDPOINTS("5"),
    REQUESTS,
};

static const struct schema_row latency_rows[] = {
    RULE_MODE("observe"),
    {SCALAR("factor", config_outlier_rule, factor, uint32_t, type_percent), .dflt = "300%",
     .min = 101, .max = 10000,
     .doc = "Of the median of the pool, how long an endpoint may take to answer; more, where "
            "endpoints differ a lot."},
    ENDPOINTS("3"),
    REQUESTS,
    {DURATION("least", config_outlier_rule, least_ms), .dflt = "5ms", .min = MS, .max = HOUR,
     .doc = "How much longer than the median it may take in any case."},
};

#define RULE_TABLE(list)                                                                \
    {                                                                                   \
        .expected = "enforce, observe or none, or a mapping such as { mode: enforce }", \
        ROWS(list), .short_key = "mode", .own = true,                                   \
    }

static const struct schema_table success_rate_table = RULE_TABLE(success_rate_rows);
static const struct schema_table latency_table = RULE_TABLE(latency_rows);

static const struct schema_row outlier_rows[] = {
    {MODE(config_outlier), .dflt = "enforce",
     .doc = "enforce, observe (nobody is ejected; whoever would be is counted and logged) or "
            "none."},
    {INT("errors", config_outlier, errors), .dflt = "5", .min = 1, .max = 1000, .word = "none",
     .word_value = 0,
     .doc = "So many 5xx, resets, timeouts or failed connections in a row eject an endpoint."},
    {DURATION("eject", config_outlier, eject_ms), .dflt = "30s", .min = 10 * MS, .max = 24 * HOUR,
     .doc = "For how long the first time, twice that the second time, and so on; then one request "
            "is let through, and decides."},
    {DURATION("max_eject", config_outlier, max_eject_ms), .dflt = "300s", .min = 10 * MS,
     .max = 24 * HOUR, .doc = "The longest that it becomes."},
    {SCALAR("max", config_outlier, max, uint32_t, type_percent), .dflt = "50%", .min = 1,
     .max = 100,
     .doc = "How many endpoints of the pool may be ejected at once; one always may, and the last "
            "usable one never."},
    {DURATION("interval", config_outlier, interval_ms), .dflt = "10s", .min = 100 * MS, .max = HOUR,
     .doc = "How often endpoints are compared by success_rate and latency."},
    {.key = "success_rate",
     .shape = SHAPE_TABLE,
     .table = &success_rate_table,
     .offset = FIELD(config_outlier, success_rate, struct config_outlier_rule),
     .doc = "Ejects endpoints that fail more often than the others."},
    {.key = "latency",
     .shape = SHAPE_TABLE,
     .table = &latency_table,
     .offset = FIELD(config_outlier, latency, struct config_outlier_rule),
     .doc = "Ejects endpoints that are slower than the others."},
};

static void check_outlier(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_outlier *outlier = obj;
    if (outlier->max_eject_ms < outlier->eject_ms)
        bind_error(b, bind_pos_of(node, "eject", bind_pos_of(node, "max_eject", outlier->pos)),
                   "eject is longer than max_eject, the longest that it becomes; raise max_eject, "
                   "or lower eject");
}

const struct schema_table schema_outlier = {
    .expected = "enforce, observe or none, or a mapping such as { errors: 5, eject: 30s }",
    ROWS(outlier_rows),
    .short_key = "mode",
    .own = true,
    .check = check_outlier,
};
