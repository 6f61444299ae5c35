/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the configuration share: loading a text and comparing what is said about it.
 */
#ifndef WEIR_TEST_CONFIG_H
#define WEIR_TEST_CONFIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/config.h"
#include "proxy/base/check.h"

/* The sections that a file has to have, for tests about something else. */
#define LISTENERS "listeners: { web: \":8000\" }\n"
#define ROUTES    "routes: [{ to: app }]\n"
#define POOLS     "pools: { app: [127.0.0.1:8080] }\n"
#define REST      "version: 1\n" LISTENERS ROUTES POOLS

/* A file that begins with what it is about: a line of the listeners, the routes, ... */
#define LISTENER(text) "listeners: { web: " text " }\nversion: 1\n" ROUTES POOLS
#define ROUTE(text)    "routes: [" text "]\nversion: 1\n" LISTENERS POOLS
#define MATCH(text)    "routes: [{ to: app, match: { " text " } }]\nversion: 1\n" LISTENERS POOLS
#define POOL(text)     "pools: { app: " text " }\nversion: 1\n" LISTENERS ROUTES
#define ENDPOINT(text) POOL("[" text "]")

#define ENDPOINT_EXPECTED \
    "expected an address such as 127.0.0.1:8080, \"[::1]:8080\" or \"unix:/run/app.sock\""

/* All messages as text, to be freed. */
static inline char *messages_text(struct config_errors *errs)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    config_errors_print(errs, out);
    assert_int_equal(fclose(out), 0);
    config_errors_free(errs);
    return text;
}

static inline char *dump_text(const struct config *cfg)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    config_dump(cfg, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Loads a text called "t" and returns the messages, to be freed; *cfg is NULL after an error. */
static inline char *load_messages(const char *yaml, size_t len, struct config **cfg)
{
    struct config_errors errs = {0};
    int result = config_load_text("t", yaml, len, cfg, &errs);
    assert_int_equal(result, errs.errors > 0 ? -1 : 0);
    assert_true((result == 0) == (*cfg != NULL));
    return messages_text(&errs);
}

/* Fails unless exactly `expected` is said about the text. */
static inline void expect_messages(const char *yaml, const char *expected)
{
    struct config *cfg;
    char *said = load_messages(yaml, strlen(yaml), &cfg);
    if (strcmp(said, expected) != 0)
        print_error("for:\n%s", yaml);
    assert_string_equal(said, expected);
    free(said);
    config_free(cfg);
}

/* The configuration of a text that has nothing wrong, to be freed. */
static inline struct config *load_good(const char *yaml)
{
    struct config *cfg;
    char *said = load_messages(yaml, strlen(yaml), &cfg);
    assert_string_equal(said, "");
    free(said);
    return cfg;
}

/* Fails unless what it dumps to loads to what dumps to the same. */
static inline void check_reload(const char *yaml)
{
    struct config *once = load_good(yaml);
    char *first = dump_text(once);
    struct config *again = load_good(first);
    char *second = dump_text(again);
    assert_string_equal(first, second);
    free(first);
    free(second);
    config_free(once);
    config_free(again);
}

struct message_case {
    const char *yaml;
    const char *said; /* without the last line break */
};

static inline void expect_cases(const struct message_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char said[4096];
        int len = snprintf(said, sizeof(said), "%s%s", cases[i].said, *cases[i].said ? "\n" : "");
        assert_true(len >= 0 && (size_t)len < sizeof(said));
        expect_messages(cases[i].yaml, said);
    }
}

/* The whole of a test that only compares: rows of struct message_case. */
#define CASES(...)                                            \
    static const struct message_case cases[] = {__VA_ARGS__}; \
    (void)state;                                              \
    expect_cases(cases, ARRAY_LEN(cases))

#endif
