/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of retries: of a pool's budget for them. Constant data; any thread. */
#include "config/bind.h"
#include "config/rows.h"

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
