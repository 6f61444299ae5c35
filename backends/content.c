/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of each handler, and the pattern. Never writes. Its worker's thread only.
 */
#include "backends/content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A prime period, so that a block that is lost, doubled or swapped shows. */
#define PATTERN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz012345678"
#define PERIOD  (sizeof(PATTERN) - 1)

void pattern_fill(char *at, uint64_t off, size_t len)
{
    size_t phase = (size_t)(off % PERIOD), made = 0;
    while (made < len && made < PERIOD) {
        at[made] = PATTERN[(phase + made) % PERIOD];
        made++;
    }
    while (made < len) { /* double what is there: always whole periods */
        size_t n = made < len - made ? made : len - made;
        memcpy(at + made, at, n);
        made += n;
    }
}

static void say(struct content *made, const char *text)
{
    made->text = text;
    made->len = strlen(text);
}

static void say_copy(struct content *made, const char *text)
{
    made->owned = strdup(text);
    say(made, made->owned ? made->owned : "");
}

static void say_stats(struct content *made, const struct service *service)
{
    char json[STATS_JSON_MAX];
    stats_json(service->shards, service->workers, json);
    say_copy(made, json);
    made->type = "application/json";
}

static void say_number(struct content *made, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    say_copy(made, text);
}

struct content content_make(const struct asked *a, const struct service *service,
                            uint64_t body_bytes)
{
    struct content made = {.status = 200, .type = "text/plain"};
    switch (a->handler) {
    case HANDLER_STATS:
        say_stats(&made, service);
        return made;
    case HANDLER_ERROR:
        say(&made, asked_complaint(a));
        made.status = 400;
        return made;
    case HANDLER_SINK:
        say_number(&made, body_bytes);
        break;
    case HANDLER_HEALTH:
        say(&made, "ok");
        break;
    case HANDLER_BYTES:
        made.len = a->bytes;
        break;
    case HANDLER_TEXT:
    case HANDLER_UPGRADE:
        say(&made, service->opt->body);
        break;
    case HANDLER_ECHO:
    case HANDLER_GRPC:
        break;
    }
    if (knobs_has(a->knobs, KNOB_BODY_SIZE)) {
        made.text = NULL;
        made.len = a->knobs->body_size;
    }
    return made;
}
