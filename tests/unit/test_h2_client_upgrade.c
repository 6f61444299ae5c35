/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upgrades over HTTP/2: what an extended CONNECT is made of (RFC 8441), and when there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/h2_asker.h"

static struct ask *upgrade(struct asker *f)
{
    struct http_head *head = asker_head(f, "GET", BODY_NONE);
    head->upgrade = SPAN_LIT("websocket");
    http_head_add(head, FIELD_OTHER, SPAN_LIT("Sec-WebSocket-Key"), SPAN_LIT("k"));
    http_head_add(head, FIELD_OTHER, SPAN_LIT("Sec-WebSocket-Version"), SPAN_LIT("13"));
    struct ask *a = asker_begin(f, head);
    a->stream->ops->send_end(a->stream, NULL);
    asker_run(f);
    return a;
}

#define EXTENDED                                                                        \
    "HEADERS 1 :method=CONNECT :scheme=http :authority=h :path=/a :protocol=websocket " \
    "sec-websocket-version=13|"

static void an_upgrade_becomes_a_tunnel(void **state)
{
    struct asker *f = *state;
    pair_connect(f->w.pair, 0, 0);
    struct ask *a = upgrade(f); /* before the settings are known */
    h2_say_setting(&f->peer, 8, 1);
    GOT("preface|SETTINGS|WINDOW 0 983041|SETTINGS ack|" EXTENDED);
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    NOTES("a 101 tunnel|");
    asker_send(a, "ping", 4);
    asker_run(f);
    GOT("DATA 1 ping|");
    h2_say_data(&f->peer, 1, false, "pong");
    NOTES("a drained 4|a pong|");
    a->stream->ops->send_end(a->stream, NULL);
    asker_run(f);
    GOT("DATA 1 end |");
    h2_say_data(&f->peer, 1, true, "");
    NOTES("a end|room 0|");
}

static void an_upgrade_that_is_refused(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    h2_say_setting(&f->peer, 8, 1);
    h2_got(&f->peer);
    asker_notes(f);
    upgrade(f);
    h2_say_headers(&f->peer, 1, true, ":status: 403\n");
    NOTES("a 403 none|a end|room 0|");
    GOT(EXTENDED "RST 1 8|");
}

static void an_upstream_without_extended_connect_sees_no_upgrade(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    upgrade(f);
    GOT("HEADERS 1 end " GET_A " sec-websocket-key=k sec-websocket-version=13|");
    h2_say_headers(&f->peer, 1, true, ":status: 426\n");
    NOTES("a 426 none|a end|room 0|");
}

/* There is no place for it in an extended CONNECT: its bytes would be the tunnel's. */
static void an_upgrade_with_a_body_is_a_request_like_any_other(void **state)
{
    struct asker *f = *state;
    pair_connect(f->w.pair, 0, 0);
    struct http_head *head = asker_head(f, "POST", BODY_LENGTH);
    head->content_length = 4;
    head->upgrade = SPAN_LIT("websocket");
    struct ask *a = asker_begin(f, head);
    asker_send(a, "body", 4);
    a->stream->ops->send_end(a->stream, NULL);
    h2_say_setting(&f->peer, 8, 1);
    asker_run(f);
    GOT("preface|SETTINGS|WINDOW 0 983041|HEADERS 1 :method=POST :scheme=http :authority=h "
        ":path=/a|DATA 1 end body|SETTINGS ack|");
    h2_say_headers(&f->peer, 1, true, ":status: 200\n");
    NOTES("a drained 4|a 200 none|a end|room 0|");
}

/* The one that there is no room for goes elsewhere, and only there. */
static void an_upgrade_too_many_is_not_sent(void **state)
{
    struct asker *f = *state;
    f->peer.acks = false;
    pair_connect(f->w.pair, 0, 0);
    upgrade(f);
    upgrade(f);
    static const char both[] = {0, 3, 0, 0, 0, 1, 0, 8, 0, 0, 0, 1};
    h2_say(&f->peer, H2_SETTINGS, 0, 0, both, sizeof(both));
    wire_settle(&f->w);
    GOT("preface|SETTINGS|WINDOW 0 983041|SETTINGS ack|" EXTENDED);
    NOTES("takes 1|b upstream_full|");
    assert_int_equal(h2_client_streams(f->client), 1);
    h2_say_headers(&f->peer, 1, true, ":status: 403\n");
    NOTES("a 403 none|a end|room 0|");
    GOT("RST 1 8|");
}

static void an_upgrade_does_not_wait_for_ever(void **state)
{
    struct asker *f = *state;
    f->peer.acks = false;
    pair_connect(f->w.pair, 0, 0);
    upgrade(f);
    GOT("preface|SETTINGS|WINDOW 0 983041|");
    wire_pass(&f->w, ASKER_HEAD_MS + 100);
    NOTES("a response_head_timeout|"); /* and whoever says nothing gets no other */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, asker_setup, asker_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_upgrade_becomes_a_tunnel),
        TEST(an_upgrade_that_is_refused),
        TEST(an_upstream_without_extended_connect_sees_no_upgrade),
        TEST(an_upgrade_with_a_body_is_a_request_like_any_other),
        TEST(an_upgrade_too_many_is_not_sent),
        TEST(an_upgrade_does_not_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
