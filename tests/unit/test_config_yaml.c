/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is not YAML, or more of it than allowed; and substitution in values.
 */
#include "tests/unit/test_config.h"

#include <sys/stat.h>
#include <unistd.h>

#include "config/mem.h"
#include "config/tree.h"
#include "proxy/base/check.h"

#define CASES(...)                                            \
    static const struct message_case cases[] = {__VA_ARGS__}; \
    (void)state;                                              \
    expect_cases(cases, ARRAY_LEN(cases))

static void test_broken_yaml(void **state)
{
    CASES(
        {"", "t:1:1: error: the file is empty"}, {"# nothing\n", "t:1:1: error: the file is empty"},
        {"limits:\n\tbuffer: 1\n", "t:2:1: error: not valid YAML: a tab cannot indent; use spaces"},
        {"limits: { buffer: ${X} }\n",
         "t:1:20: error: not valid YAML: within { } and [ ], write ${...} in quotes"},
        {"a: [1, 2\nb: 3\n",
         "t:2:2: error: not valid YAML: did not find expected ',' or ']' while parsing a flow "
         "sequence that starts at line 1"},
        {"a: 'x\n", "t:2:1: error: not valid YAML: found unexpected end of stream while scanning a "
                    "quoted scalar that starts at line 1"},
        {"a: b: c\n", "t:1:5: error: not valid YAML: mapping values are not allowed in this "
                      "context"},
        {"a: 1\n---\nb: 2\n", "t:3:1: error: a second document; a file has only one"},
        {"? [x]\n: 1\n", "t:1:3: error: expected a key, found a list"},
        {"? {x: y}\n: 1\n", "t:1:3: error: expected a key, found a mapping"},
        {"a: !!int 1\n",
         "t:1:4: error: tags (such as !!str) are not supported; every key has one type"},
        {"a: *b\n", "t:1:4: error: alias *b: there is no anchor &b before it"},
        {"a: &b [1, *b]\n", "t:1:11: error: alias *b stands inside its own anchor"},
        {"a: \"x\\0y\"\n", "t:1:4: error: a NUL character cannot stand in a value"},
        {"a: \xff\n", "t:1:4: error: not plain UTF-8 text: invalid leading UTF-8 octet"},
        {"a: \xc3\xa4\nb: \xc3\xa4\xc3\xa4\xc3(\n",
         "t:2:7: error: not plain UTF-8 text: invalid trailing UTF-8 octet"},
        {"a: x\x01\n", "t:1:5: error: not plain UTF-8 text: control characters are not allowed"});
}

static void expect_of_bytes(const char *bytes, size_t len, const char *expected)
{
    struct config *c;
    char *said = load_messages(bytes, len, &c);
    assert_null(c);
    assert_string_equal(said, expected);
    free(said);
}

static void test_bytes_that_are_no_text(void **state)
{
    (void)state;
    expect_of_bytes(NULL, 0, "t:1:1: error: the file is empty\n");
    expect_of_bytes("a: 1\0", 5,
                    "t:1:5: error: not plain UTF-8 text: control characters are not allowed\n");
    expect_of_bytes("\xff\xfe"
                    "a\0:\0",
                    6, "t:1:1: error: not plain UTF-8 text: invalid leading UTF-8 octet\n");
}

static void test_largest_file(void **state)
{
    (void)state;
    char *bytes = malloc(CONFIG_MAX_BYTES + 1);
    assert_non_null(bytes);
    memset(bytes, '\n', CONFIG_MAX_BYTES + 1);
    memcpy(bytes, REST, strlen(REST));
    struct config *c;
    char *said = load_messages(bytes, CONFIG_MAX_BYTES, &c);
    assert_string_equal(said, "");
    free(said);
    config_free(c);
    expect_of_bytes(bytes, CONFIG_MAX_BYTES + 1, "t: error: larger than 16777216 bytes\n");
    free(bytes);
}

static void test_deepest_nesting(void **state)
{
    (void)state;
    char yaml[2 * CONFIG_MAX_DEPTH + 3];
    memset(yaml, '[', CONFIG_MAX_DEPTH + 1);
    memset(yaml + CONFIG_MAX_DEPTH + 1, ']', CONFIG_MAX_DEPTH + 1);
    yaml[2 * CONFIG_MAX_DEPTH + 2] = '\0';
    expect_messages(yaml, "t:1:33: error: nested deeper than 32 levels\n");
    expect_of_bytes(yaml + 1, 2 * CONFIG_MAX_DEPTH,
                    "t:1:1: error: expected a mapping that begins with version: 1; found a list\n");
}

/* Nine lists, each of nine aliases to the one before: 9^9 values. */
static void test_aliases_cannot_blow_up(void **state)
{
    (void)state;
    static const char yaml[] = "a: &a [x,x,x,x,x,x,x,x,x]\n"
                               "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                               "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                               "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
                               "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
                               "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
                               "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    /* 672611 up to the end of f, 597871 for each *f: the first is too many. */
    expect_messages(yaml, "t:7:8: error: too large: more than 1048576 values once aliases are "
                          "expanded\n");
}

/* A long text, many times over, is as much to copy as many values. */
static void test_aliases_of_long_text_cannot_blow_up(void **state)
{
    (void)state;
    char *yaml = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&yaml, &len);
    assert_non_null(out);
    fputs("a: &a ", out);
    for (int i = 0; i < 64 * 1024; i++)
        fputc('x', out);
    fputs("\nb: [\n", out);
    for (int i = 0; i < 1024; i++)
        fputs("*a,\n", out);
    fputs("]\n", out);
    assert_int_equal(fclose(out), 0);
    /* Each costs 1025 of 1048576, and so do the anchor and a little for the rest: 1021 fit. */
    expect_messages(yaml, "t:1024:1: error: too large: more than 1048576 values once aliases are "
                          "expanded\n");
    free(yaml);
}

static void test_number_of_anchors_is_bounded(void **state)
{
    (void)state;
    char yaml[8192] = "a: [";
    for (int i = 0; i < 257; i++)
        snprintf(yaml + strlen(yaml), sizeof(yaml) - strlen(yaml), "&n%d x,\n", i);
    strcat(yaml, "]\n");
    expect_messages(yaml, "t:257:1: error: more than 256 anchors\n");
}

static void test_anchor_name_may_be_used_again(void **state)
{
    (void)state;
    struct config *c =
        load_good("timeouts: { request: &t 1s, upgraded: &t 2s, write_stall: *t }\n" REST);
    assert_int_equal(c->timeouts.write_stall, 2000);
    config_free(c);
}

static void test_what_unquoted_text_looks_like(void **state)
{
    (void)state;
    static const struct {
        enum tree_looks looks;
        const char *texts[20];
    } rows[] = {
        {TREE_LOOKS_NULL, {"", "~", "null", "Null", "NULL"}},
        {TREE_LOOKS_BOOL, {"true", "True", "TRUE", "false", "False", "FALSE"}},
        {TREE_LOOKS_OLD_BOOL, {"yes", "Yes", "NO", "on", "Off"}},
        {TREE_LOOKS_NUMBER,
         {"0", "-1", "+12", "1.5", ".5", "1.", "1e3", "1.5E-3", "0x1F", "0o17", ".inf", "-.INF",
          ".nan", "007"}},
        {TREE_LOOKS_STRING,
         {"nUll", "tRue", "yEs", "1a", "1.2.3", "0x", "0o8", "1e", ".", "-", "+", "e1", "10s",
          "--1", "0xg", "y", "none", ":80"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < ARRAY_LEN(rows[i].texts) && rows[i].texts[k] != NULL; k++)
            assert_int_equal(tree_text_looks(rows[i].texts[k]), rows[i].looks);
}

static void test_tree_knows_positions_and_keys(void **state)
{
    (void)state;
    static const char yaml[] = "a: 1\n\xc3\xa4: [x,\n  'y']\n";
    struct config_mem *mem = config_mem_new();
    struct config_errors errs = {0};
    struct tree_node *root = tree_parse(mem, "t", yaml, strlen(yaml), &errs);
    assert_non_null(root);
    assert_int_equal(root->kind, TREE_MAP);
    assert_int_equal(root->count, 2);
    const struct tree_node *list = tree_get(root, "\xc3\xa4");
    assert_int_equal(list->kind, TREE_LIST);
    assert_int_equal(list->pos.line, 2);
    assert_int_equal(list->pos.column, 4); /* characters, not bytes */
    assert_int_equal(list->items[1]->pos.line, 3);
    assert_int_equal(list->items[1]->pos.column, 3);
    assert_true(list->items[0]->plain);
    assert_false(list->items[1]->plain);
    assert_null(tree_get(root, "b"));
    assert_null(tree_get(list, "b"));
    assert_null(tree_get(NULL, "b"));
    config_mem_free(mem);
}

/* Substitution. */

#define FORMAT(text) "access_log: { path: x, format: \"" text "\" }\n" REST

static void expect_format(const char *yaml, const char *expected)
{
    struct config *c = load_good(yaml);
    assert_string_equal(c->access_log.format.text, expected);
    config_free(c);
}

static void test_environment_is_substituted(void **state)
{
    (void)state;
    setenv("WEIR_TEST", "v", 1);
    setenv("WEIR_EMPTY", "", 1);
    unsetenv("WEIR_UNSET");
    expect_format(FORMAT("{${WEIR_TEST}}"), "{v}");
    expect_format(FORMAT("{${WEIR_TEST}${WEIR_TEST}x"), "{vvx");
    expect_format(FORMAT("{${WEIR_EMPTY}}"), "{}");
    expect_format(FORMAT("{${WEIR_UNSET:-d}}"), "{d}");
    expect_format(FORMAT("{${WEIR_EMPTY:-d}}"), "{d}");
    expect_format(FORMAT("{${WEIR_TEST:-d}}"), "{v}");
    expect_format(FORMAT("{${WEIR_UNSET:-}}"), "{}");
    expect_format(FORMAT("{${WEIR_UNSET:-a:-b}}"), "{a:-b}");
}

static void test_dollars_that_are_no_substitution(void **state)
{
    (void)state;
    expect_format(FORMAT("{$$"), "{$");
    expect_format(FORMAT("{$${X}"), "{${X}");
    expect_format(FORMAT("{$$$$"), "{$$");
    expect_format(FORMAT("{$X $"), "{$X $");
}

static void test_what_is_substituted_is_not_looked_at_again(void **state)
{
    (void)state;
    setenv("WEIR_TEST", "${WEIR_TEST}$$", 1);
    expect_format(FORMAT("{${WEIR_TEST}"), "{${WEIR_TEST}$$");
}

static void test_substituted_values_have_the_type_of_their_key(void **state)
{
    (void)state;
    setenv("WEIR_NUMBER", "7", 1);
    setenv("WEIR_BOOL", "true", 1);
    struct config *c = load_good("workers: ${WEIR_NUMBER}\n"
                                 "limits: { headers: \"${WEIR_NUMBER}\" }\n"
                                 "shutdown: ${WEIR_NUMBER}s\n"
                                 "version: 1\n"
                                 "listeners: { web: { bind: \":8000\", via: \"${WEIR_BOOL}\" } }\n"
                                 "routes: [{ to: \"${WEIR_NUMBER}\", match: { headers: "
                                 "{ x: \"${WEIR_NUMBER}\" } } }]\n"
                                 "pools: { 7: [\"${WEIR_HOST:-a}:80\"] }\n");
    assert_int_equal(c->workers, 7);
    assert_int_equal(c->limits.headers, 7);
    assert_int_equal(c->shutdown_ms, 7000);
    assert_true(c->listeners[0].via);
    assert_string_equal(c->routes[0].to[0].name, "7");
    assert_string_equal(c->routes[0].match.headers[0].value, "7");
    assert_string_equal(c->pools[0].endpoints[0].address.text, "a:80");
    config_free(c);
}

static void test_substitution_that_fails(void **state)
{
    setenv("WEIR_BAD", "x\xff", 1);
    setenv("WEIR_TEST", "many", 1);
    unsetenv("WEIR_UNSET");
    CASES({"workers: ${WEIR_UNSET}\n" REST,
           "t:1:10: error: workers: the environment has no variable WEIR_UNSET; set it, or give a "
           "default: ${WEIR_UNSET:-value}"},
          {"workers: ${WEIR_TEST}\n" REST,
           "t:1:10: error: workers: expected a whole number, or auto; found \"many\""},
          {"workers: ${1X}\n" REST,
           "t:1:10: error: workers: expected ${NAME}, ${NAME:-default} or ${file:/path}; a dollar "
           "sign before a brace is written $$"},
          {"workers: ${}\n" REST,
           "t:1:10: error: workers: expected ${NAME}, ${NAME:-default} or ${file:/path}; a dollar "
           "sign before a brace is written $$"},
          {"workers: ${A\n" REST, "t:1:10: error: workers: \"${\" without a \"}\"; a dollar sign "
                                  "before a brace is written $$"},
          {"log: ${WEIR_BAD}\n" REST,
           "t:1:6: error: log: the environment variable WEIR_BAD is not UTF-8 text"},
          {"${WEIR_TEST}: 1\n" REST,
           "t:1:1: error: \"${WEIR_TEST}\": unknown key; the keys here are version, workers, "
           "shutdown, zone, instance, user, sandbox, admin, registry, reload, log, access_log, "
           "flight, "
           "tracing, "
           "limits, "
           "timeouts, "
           "listeners, routes, pools"},
          {"workers: ${file:x}\n" REST,
           "t:1:10: error: workers: ${file:x}: expected an absolute path, such as ${file:/run/id}"},
          {"workers: ${file:/nonexistent}\n" REST,
           "t:1:10: error: workers: cannot read \"/nonexistent\": No such file or directory"},
          {"workers: ${file:/dev/zero}\n" REST,
           "t:1:10: error: workers: cannot read \"/dev/zero\": not a regular file"},
          {"workers: ${file:/}\n" REST,
           "t:1:10: error: workers: cannot read \"/\": not a regular file"});
}

/* A file with these bytes; the path is written to `path`. */
static void file_with(char *path, const char *bytes, size_t len)
{
    strcpy(path, "/tmp/weir-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    assert_int_equal(close(fd), 0);
}

static void expect_file(const char *bytes, const char *expected)
{
    char path[32], yaml[512];
    file_with(path, bytes, strlen(bytes));
    snprintf(yaml, sizeof(yaml), FORMAT("{${file:%s}}"), path);
    expect_format(yaml, expected);
    unlink(path);
}

static void test_file_is_substituted_without_its_last_line_break(void **state)
{
    (void)state;
    expect_file("secret", "{secret}");
    expect_file("secret\n", "{secret}");
    expect_file("secret\r\n", "{secret}");
    expect_file(" $${X} ", "{ $${X} }");
    expect_file("", "{}");
}

static void expect_bad_file(const char *bytes, size_t len, const char *why)
{
    char path[32], yaml[512], said[512];
    file_with(path, bytes, len);
    snprintf(yaml, sizeof(yaml), "log: ${file:%s}\n" REST, path);
    snprintf(said, sizeof(said), "t:1:6: error: log: \"%s\" %s\n", path, why);
    expect_messages(yaml, said);
    unlink(path);
}

static void test_file_that_cannot_be_substituted(void **state)
{
    (void)state;
    static char large[65537];
    memset(large, 'x', sizeof(large));
    expect_bad_file(large, sizeof(large), "has more than 65536 bytes");
    expect_bad_file("a\0b", 3, "is not UTF-8 text");
    expect_bad_file("\xc0\x80", 2, "is not UTF-8 text");
    expect_bad_file("\xed\xa0\x80", 3, "is not UTF-8 text");
    expect_bad_file("\xf4\x90\x80\x80", 4, "is not UTF-8 text");
    expect_bad_file("\xe4\xb8", 2, "is not UTF-8 text");
    expect_bad_file("\xe4\xb8x", 3, "is not UTF-8 text");
    expect_bad_file("\xff", 1, "is not UTF-8 text");
}

static void test_pipe_is_refused_without_waiting_for_it(void **state)
{
    (void)state;
    char dir[] = "/tmp/weir-test-XXXXXX", yaml[512], said[512];
    assert_non_null(mkdtemp(dir));
    char path[64];
    snprintf(path, sizeof(path), "%s/pipe", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(yaml, sizeof(yaml), "log: ${file:%s}\n" REST, path);
    snprintf(said, sizeof(said), "t:1:6: error: log: cannot read \"%s\": not a regular file\n",
             path);
    expect_messages(yaml, said);
    unlink(path);
    rmdir(dir);
}

static void test_substitutions_together_are_bounded(void **state)
{
    (void)state;
    char *value = malloc(60001), *yaml = NULL;
    size_t len = 0;
    assert_non_null(value);
    memset(value, 'x', 60000);
    value[60000] = '\0';
    setenv("WEIR_LONG", value, 1);
    FILE *out = open_memstream(&yaml, &len);
    assert_non_null(out);
    fputs("access_log: { path: x, format: \"{", out);
    for (int i = 0; i < 18; i++) /* 17 * 60000 is less than 1 MiB, 18 is more */
        fputs("${WEIR_LONG}", out);
    fputs("\" }\n" REST, out);
    assert_int_equal(fclose(out), 0);
    expect_messages(yaml, "t:1:32: error: access_log.format: all substitutions together make more "
                          "than 1048576 bytes\n");
    free(yaml);
    free(value);
    unsetenv("WEIR_LONG");
}

static void test_memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    struct config_mem *mem = config_mem_new();
    for (size_t size = 0; size < 20000; size += 977) {
        char *p = config_mem_alloc(mem, 1, size);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, size);
    }
    char *text = config_mem_printf(mem, "%s-%d", "a", 1);
    assert_string_equal(text, "a-1");
    config_mem_free(mem);
    config_mem_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_yaml),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_largest_file),
        cmocka_unit_test(test_deepest_nesting),
        cmocka_unit_test(test_aliases_cannot_blow_up),
        cmocka_unit_test(test_aliases_of_long_text_cannot_blow_up),
        cmocka_unit_test(test_number_of_anchors_is_bounded),
        cmocka_unit_test(test_anchor_name_may_be_used_again),
        cmocka_unit_test(test_what_unquoted_text_looks_like),
        cmocka_unit_test(test_tree_knows_positions_and_keys),
        cmocka_unit_test(test_environment_is_substituted),
        cmocka_unit_test(test_dollars_that_are_no_substitution),
        cmocka_unit_test(test_what_is_substituted_is_not_looked_at_again),
        cmocka_unit_test(test_substituted_values_have_the_type_of_their_key),
        cmocka_unit_test(test_substitution_that_fails),
        cmocka_unit_test(test_file_is_substituted_without_its_last_line_break),
        cmocka_unit_test(test_file_that_cannot_be_substituted),
        cmocka_unit_test(test_pipe_is_refused_without_waiting_for_it),
        cmocka_unit_test(test_substitutions_together_are_bounded),
        cmocka_unit_test(test_memory_is_zeroed_and_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
