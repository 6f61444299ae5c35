/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration: must end, without a fault, in a configuration or in errors; what is
 * accepted must dump to a text that loads again and dumps to the same. Owns nothing between inputs.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *dump(const struct config *cfg, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    CHECK(out != NULL);
    config_dump(cfg, out);
    CHECK(fclose(out) == 0);
    return text;
}

static void print_and_free(struct config_errors *errs)
{
    FILE *null = fopen("/dev/null", "w");
    CHECK(null != NULL);
    config_errors_print(errs, null);
    fclose(null);
    config_errors_free(errs);
}

/* Except where a dump, which writes everything out, is too large to be a file. */
static void check_round_trip(const struct config *cfg)
{
    struct config_errors errs = {0};
    struct config *again = NULL;
    size_t len = 0, again_len = 0;
    char *text = dump(cfg, &len);
    if (len <= CONFIG_MAX_BYTES) {
        CHECK(config_load_text("dump", text, len, &again, &errs) == 0);
        char *again_text = dump(again, &again_len);
        CHECK(len == again_len && memcmp(text, again_text, len) == 0);
        free(again_text);
        config_free(again);
        config_errors_free(&errs);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errs = {0};
    struct config *cfg = NULL;
    int result = config_load_text("fuzz", (const char *)data, size, &cfg, &errs);
    CHECK((result == 0) == (cfg != NULL) && (result == 0) == (errs.errors == 0));
    if (cfg != NULL)
        check_round_trip(cfg);
    config_free(cfg);
    print_and_free(&errs);
    return 0;
}
