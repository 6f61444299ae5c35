/* SPDX-License-Identifier: Apache-2.0 */
/* Packets with descriptors, between the two ends of a pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/net/fd_packet.h"

struct fixture {
    int pair[2];
    char bytes[FD_PACKET_MAX + 1];
    size_t len;
    int fd;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, f->pair), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close(f->pair[0]);
    close(f->pair[1]);
    free(f);
    return 0;
}

static int receive(struct fixture *f)
{
    return fd_packet_recv(f->pair[1], f->bytes, &f->len, &f->fd);
}

static void bytes_arrive_packet_by_packet(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(fd_packet_send(f->pair[0], "one", 3, -1), 0);
    assert_int_equal(fd_packet_send(f->pair[0], "other\0s", 7, -1), 0);
    assert_int_equal(receive(f), 0);
    assert_int_equal(f->len, 3);
    assert_int_equal(f->fd, -1);
    assert_string_equal(f->bytes, "one");
    assert_int_equal(receive(f), 0);
    assert_int_equal(f->len, 7);
    assert_memory_equal(f->bytes, "other\0s", 8);
    assert_int_equal(receive(f), EAGAIN);
}

static void a_descriptor_comes_along_and_is_closed_on_exec(void **state)
{
    struct fixture *f = *state;
    int fd = open("/dev/null", O_RDONLY);
    struct stat sent, got;
    assert_int_equal(fstat(fd, &sent), 0);
    assert_int_equal(fd_packet_send(f->pair[0], "x", 1, fd), 0);
    close(fd);
    assert_int_equal(receive(f), 0);
    assert_true(f->fd >= 0);
    assert_int_equal(fstat(f->fd, &got), 0);
    assert_int_equal(sent.st_ino, got.st_ino);
    assert_true(fcntl(f->fd, F_GETFD) & FD_CLOEXEC);
    close(f->fd);
}

static void the_end_has_no_bytes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(fd_packet_send(f->pair[0], "last", 4, -1), 0);
    assert_int_equal(shutdown(f->pair[0], SHUT_RDWR), 0);
    assert_int_equal(receive(f), 0);
    assert_int_equal(f->len, 4);
    assert_int_equal(receive(f), 0);
    assert_int_equal(f->len, 0);
    assert_int_equal(fd_packet_send(f->pair[1], "x", 1, -1), EPIPE); /* and no signal */
}

/* The kernel tells such an end as a reset first. */
static void what_was_said_is_read_though_the_other_side_has_not_read_all(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(fd_packet_send(f->pair[1], "unread", 6, -1), 0);
    assert_int_equal(fd_packet_send(f->pair[0], "last", 4, -1), 0);
    close(f->pair[0]);
    f->pair[0] = -1;
    assert_int_equal(receive(f), 0);
    assert_string_equal(f->bytes, "last");
    assert_int_equal(receive(f), 0);
    assert_int_equal(f->len, 0);
}

static void what_does_not_fit_is_an_error_and_leaves_no_descriptor(void **state)
{
    struct fixture *f = *state;
    char large[FD_PACKET_MAX + 1] = {0};
    int before = dup(0);
    close(before);
    assert_int_equal(fd_packet_send(f->pair[0], large, sizeof(large), 0), 0);
    assert_int_equal(receive(f), EMSGSIZE);
    assert_int_equal(f->fd, -1);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

/* There is room for a second one where the first is padded. */
static void of_two_descriptors_none_is_left(void **state)
{
    struct fixture *f = *state;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    const int fds[2] = {0, 0};
    char byte = 0;
    struct iovec piece = {&byte, 1};
    struct msghdr msg = {.msg_iov = &piece,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    int before = dup(0);
    close(before);
    *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(fds)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, sizeof(fds));
    assert_int_equal(sendmsg(f->pair[0], &msg, 0), 1);
    assert_int_equal(receive(f), EMFILE);
    assert_int_equal(f->fd, -1);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_arrive_packet_by_packet),
        TEST(a_descriptor_comes_along_and_is_closed_on_exec),
        TEST(the_end_has_no_bytes),
        TEST(what_was_said_is_read_though_the_other_side_has_not_read_all),
        TEST(what_does_not_fit_is_an_error_and_leaves_no_descriptor),
        TEST(of_two_descriptors_none_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
