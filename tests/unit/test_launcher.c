/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher, of programs that do nothing: whether they run is told by their end of the channel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/launcher.h"
#include "proxy/net/fd_packet.h"

#define PATIENCE_MS 20000

static char sleep_program[] = "/bin/sleep", sleep_time[] = "30";
static char *sleeper[] = {sleep_program, sleep_time, NULL};

/* Runs it: this end of its channel. */
static int run(int launcher)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(launcher_run(launcher, pair[1]), 0);
    close(pair[1]);
    return pair[0];
}

/* Waits for what is said; "" at the end. */
static void expect(int channel, const char *what)
{
    char said[FD_PACKET_MAX + 1];
    struct pollfd at = {.fd = channel, .events = POLLIN};
    size_t len;
    int fd;
    assert_int_equal(poll(&at, 1, PATIENCE_MS), 1);
    assert_int_equal(fd_packet_recv(channel, said, &len, &fd), 0);
    if (len == 0)
        said[0] = '\0';
    assert_string_equal(said, what);
}

static void there_is_one_at_a_time(void **state)
{
    (void)state;
    int launcher = launcher_start(sleeper);
    assert_true(launcher >= 0);
    int first = run(launcher), second = run(launcher);
    expect(first, "");
    launcher_kill(launcher);
    expect(second, "");
    close(first);
    close(second);
    close(launcher);
}

static void it_is_told_why_there_is_none(void **state)
{
    (void)state;
    char program[] = "/nonexistent/program";
    char *nothing[] = {program, NULL};
    int launcher = launcher_start(nothing);
    int channel = run(launcher);
    expect(channel, "failed /nonexistent/program: No such file or directory");
    expect(channel, "");
    close(channel);
    close(launcher);
}

/* So some programs have it when they start others. */
static void it_starts_though_children_are_ignored(void **state)
{
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    int launcher = launcher_start(sleeper);
    assert_true(launcher >= 0);
    assert_ptr_equal(signal(SIGCHLD, SIG_DFL), SIG_IGN);
    int channel = run(launcher);
    launcher_kill(launcher);
    expect(channel, "");
    close(channel);
    close(launcher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_one_at_a_time),
        cmocka_unit_test(it_is_told_why_there_is_none),
        cmocka_unit_test(it_starts_though_children_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
