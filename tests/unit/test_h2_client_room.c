/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests a conn of HTTP/2 to an upstream takes at once: before the peer has said it, and
 * after, and what becomes of those for which there is no room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/h2_asker.h"

/* And the peer has said nothing yet. */
static void come_up(struct asker *f)
{
    f->peer.acks = false;
    pair_connect(f->w.pair, 0, 0);
}

static void many_at_once(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    for (int i = 0; i < 4; i++)
        asker_ask(f, "GET");
    assert_false(h2_client_room(f->client));
    assert_int_equal(h2_client_streams(f->client), 4);
    h2_say_headers(&f->peer, 5, true, ":status: 204\n");
    NOTES("c 204 none|c end|room 3|");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|"); /* it is listed already */
    assert_true(asker_ask(f, "GET")->stream->reused);
}

static void the_peer_allows_fewer(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    h2_say_setting(&f->peer, 3, 1);
    asker_ask(f, "GET");
    assert_false(h2_client_room(f->client));
}

/* They were opened before it said so, and have not left. */
static void what_the_peer_does_not_allow_goes_elsewhere(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    for (int i = 0; i < 3; i++)
        asker_begin(f, asker_head(f, "GET", BODY_NONE));
    h2_say_setting(&f->peer, 3, 1);
    GOT("SETTINGS ack|HEADERS 1 end " GET_A "|");
    NOTES("takes 1|c upstream_full|b upstream_full|");
    assert_int_equal(h2_client_streams(f->client), 1);
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|room 0|");
    asker_ask(f, "GET");
    GOT("HEADERS 7 end " GET_A "|");
    h2_say_headers(&f->peer, 7, true, ":status: 204\n");
    NOTES("d 204 none|d end|room 0|");
}

/* A stream cannot be taken back, and any peer takes one. */
static void all_but_the_first_wait_for_the_peers_word(void **state)
{
    struct asker *f = *state;
    come_up(f);
    for (int i = 0; i < 4; i++)
        asker_ask(f, "GET");
    assert_false(h2_client_room(f->client));
    GOT("preface|SETTINGS|WINDOW 0 983041|HEADERS 1 end " GET_A "|");
    h2_say_setting(&f->peer, 3, 3);
    GOT("SETTINGS ack|HEADERS 3 end " GET_A "|HEADERS 5 end " GET_A "|");
    NOTES("takes 3|d upstream_full|");
}

static void a_peer_that_names_no_number_takes_all_that_waited(void **state)
{
    struct asker *f = *state;
    come_up(f);
    for (int i = 0; i < 3; i++)
        asker_ask(f, "GET");
    h2_got(&f->peer);
    h2_say_setting(&f->peer, 0, 0);
    GOT("SETTINGS ack|HEADERS 3 end " GET_A "|HEADERS 5 end " GET_A "|");
    NOTES("");
}

static void what_is_known_of_the_peer_does_not_wait(void **state)
{
    struct asker *f = *state;
    asker_expects(f, 2);
    come_up(f);
    asker_ask(f, "GET");
    assert_true(h2_client_room(f->client));
    asker_ask(f, "GET");
    assert_false(h2_client_room(f->client));
    GOT("preface|SETTINGS|WINDOW 0 983041|HEADERS 1 end " GET_A "|HEADERS 3 end " GET_A "|");
    h2_say_setting(&f->peer, 3, 2);
    NOTES(""); /* nothing new */
    h2_say_setting(&f->peer, 3, 4);
    NOTES("takes 4|room 2|");
}

/* It has to refuse them, and nobody else knows that it has not begun to serve them. */
static void what_has_left_waits_for_the_peers_refusal(void **state)
{
    struct asker *f = *state;
    asker_expects(f, 2);
    come_up(f);
    asker_ask(f, "GET");
    asker_ask(f, "GET");
    h2_say_setting(&f->peer, 3, 1);
    NOTES("takes 1|");
    h2_say_rst(&f->peer, 3, 7);
    NOTES("b upstream_refused|");
    assert_false(h2_client_room(f->client));
}

static void what_waited_has_not_been_sent_when_the_conn_ends(void **state)
{
    struct asker *f = *state;
    come_up(f);
    asker_ask(f, "GET");
    asker_ask(f, "POST");
    wire_close(&f->w, false);
    asker_run(f);
    NOTES("a upstream_closed|b upstream_unsent|closed upstream_closed|");
}

static void who_waited_may_give_up(void **state)
{
    struct asker *f = *state;
    come_up(f);
    asker_ask(f, "GET");
    asker_release(asker_ask(f, "GET"), REASON_CLIENT_CLOSED);
    asker_ask(f, "GET");
    h2_got(&f->peer);
    h2_say_setting(&f->peer, 3, 2);
    GOT("SETTINGS ack|HEADERS 5 end " GET_A "|");
    NOTES("takes 2|");
}

/* Going elsewhere costs a try then: perhaps nobody takes any. */
static void a_peer_that_allows_none(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_begin(f, asker_head(f, "GET", BODY_NONE));
    h2_say_setting(&f->peer, 3, 0);
    GOT("SETTINGS ack|");
    NOTES("takes 0|a upstream_refused|room 0|");
}

/* Who keeps the conns can still end it. */
static void an_idle_conn_without_room_is_listed(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|room 0|");
    h2_say_setting(&f->peer, 3, 0);
    NOTES("takes 0|");
    assert_false(h2_client_room(f->client));
    assert_true(list_linked(h2_client_link(f->client)));
    h2_say_setting(&f->peer, 3, 1);
    NOTES("takes 1|");
    asker_ask(f, "GET");
    assert_false(list_linked(h2_client_link(f->client)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, asker_setup, asker_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_at_once),
        TEST(the_peer_allows_fewer),
        TEST(what_the_peer_does_not_allow_goes_elsewhere),
        TEST(all_but_the_first_wait_for_the_peers_word),
        TEST(a_peer_that_names_no_number_takes_all_that_waited),
        TEST(what_is_known_of_the_peer_does_not_wait),
        TEST(what_has_left_waits_for_the_peers_refusal),
        TEST(what_waited_has_not_been_sent_when_the_conn_ends),
        TEST(who_waited_may_give_up),
        TEST(a_peer_that_allows_none),
        TEST(an_idle_conn_without_room_is_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
