/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of collectors. Owns nothing; must take any bytes. Any thread. */
#include "proxy/trace/answer.h"

#include <stdlib.h>

#include "proxy/base/json_read.h"

bool otlp_retryable(unsigned status)
{
    return status == 429 || (status >= 502 && status <= 504);
}

/* 64-bit integers are strings; readers take numbers as well. */
static uint64_t number_at(const struct json_t *root, const char *path)
{
    struct json_wrong ignored = {0};
    struct span text = json_read_as_text(json_read_at(root, path));
    long long n = text.len > 0 ? strtoll(text.ptr, NULL, 10)
                               : (long long)json_read_number(root, path, 0, &ignored);
    return n > 0 ? (uint64_t)n : 0;
}

/* For a line of the log: printable ASCII. */
static void keep_message(struct span text, char message[OTLP_MESSAGE])
{
    size_t n = 0;
    for (; n < text.len && n < OTLP_MESSAGE - 1; n++)
        message[n] = text.ptr[n] >= ' ' && text.ptr[n] <= '~' ? text.ptr[n] : '?';
    message[n] = '\0';
}

uint64_t otlp_rejected(struct span body, char message[OTLP_MESSAGE])
{
    char why[JSON_READ_WHY];
    struct json_t *root = json_read(body, why);
    uint64_t rejected = root != NULL ? number_at(root, "partialSuccess.rejectedSpans") : 0;
    keep_message(root != NULL ? json_read_as_text(json_read_at(root, "partialSuccess.errorMessage"))
                              : span_of(NULL, 0),
                 message);
    json_read_free(root);
    return rejected;
}
