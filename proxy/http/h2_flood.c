/* SPDX-License-Identifier: Apache-2.0 */
/* What a peer may do how often. Owns nothing, has no clock; any thread. */
#include "proxy/http/h2_flood.h"

#include "proxy/base/check.h"

static const struct {
    uint32_t burst;    /* what a purse holds */
    uint32_t a_second; /* that come with time */
    uint8_t a_stream;  /* that come with a stream the peer opens */
    uint8_t a_frame;   /* that come with a DATA frame we send */
    uint16_t reason;
} purses[FLOOD_KINDS] = {
    [FLOOD_RESET] = {1000, 200, 0, 0, REASON_H2_RESET_FLOOD},
    [FLOOD_CONTINUATION] = {8, 0, 0, 0, REASON_H2_CONTINUATION_FLOOD},
    [FLOOD_SETTINGS] = {100, 10, 0, 0, REASON_H2_SETTINGS_FLOOD},
    [FLOOD_PING] = {500, 50, 1, 1, REASON_H2_PING_FLOOD},
    [FLOOD_EMPTY_DATA] = {200, 20, 2, 0, REASON_H2_EMPTY_DATA_FLOOD},
    [FLOOD_PRIORITY] = {1000, 100, 4, 0, REASON_H2_PRIORITY_FLOOD},
    [FLOOD_WINDOW] = {2000, 200, 10, 10, REASON_H2_WINDOW_FLOOD},
};

static void add(struct h2_flood *f, unsigned kind, uint64_t n)
{
    uint64_t sum = f->tokens[kind] + n;
    f->tokens[kind] = sum < purses[kind].burst ? (uint32_t)sum : purses[kind].burst;
}

void h2_flood_init(struct h2_flood *f, uint64_t now_ms)
{
    f->at_ms = now_ms;
    for (unsigned i = 0; i < FLOOD_KINDS; i++)
        f->tokens[i] = purses[i].burst;
}

/* Whole seconds at once: what is left of one counts for the next time. */
static void fill(struct h2_flood *f, uint64_t now_ms)
{
    if (now_ms < f->at_ms + 1000)
        return;
    uint64_t seconds = (now_ms - f->at_ms) / 1000;
    f->at_ms += seconds * 1000;
    if (seconds > 1000)
        seconds = 1000;
    for (unsigned i = 0; i < FLOOD_KINDS; i++)
        add(f, i, seconds * purses[i].a_second);
}

enum reason h2_flood_count(struct h2_flood *f, enum h2_flood_kind kind, uint64_t now_ms)
{
    CHECK(kind < FLOOD_KINDS);
    fill(f, now_ms);
    if (f->tokens[kind] == 0)
        return (enum reason)purses[kind].reason;
    f->tokens[kind]--;
    return REASON_NONE;
}

void h2_flood_section(struct h2_flood *f)
{
    f->tokens[FLOOD_CONTINUATION] = purses[FLOOD_CONTINUATION].burst;
}

void h2_flood_stream(struct h2_flood *f)
{
    for (unsigned i = 0; i < FLOOD_KINDS; i++)
        add(f, i, purses[i].a_stream);
}

void h2_flood_data_sent(struct h2_flood *f)
{
    for (unsigned i = 0; i < FLOOD_KINDS; i++)
        add(f, i, purses[i].a_frame);
}
