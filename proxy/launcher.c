/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher. Owns one socket and at most one child; must never run anything but the command line
 * that it was made with. A process of its own, with a single thread.
 */
#include "proxy/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/early.h"
#include "proxy/net/fd_packet.h"

#define RUN  "run"
#define KILL "kill"

enum { CHANNEL = 3, OWN = 4 }; /* descriptors, in the successor and here */

/* Meant for weir, of whose group it is. */
static const int not_heeded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE};

struct launcher {
    char **argv;
    pid_t child; /* 0: none */
    struct sigaction before[ARRAY_LEN(not_heeded)];
};

/* As this process was started, but for what names it by its number. */
static void prepare_environment(void)
{
    char number[8];
    snprintf(number, sizeof(number), "%d", CHANNEL);
    (void)setenv(LAUNCHER_VARIABLE, number, 1);
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    (void)unsetenv("WATCHDOG_PID");
}

/* To whoever waits at the other end of the channel. */
static void say_why(const struct launcher *l, int channel)
{
    char said[FD_PACKET_MAX];
    int n = snprintf(said, sizeof(said), "failed %s: %s", l->argv[0], strerror(errno));
    if (n >= (int)sizeof(said))
        n = sizeof(said) - 1;
    (void)fd_packet_send(channel, said, (size_t)n, -1);
}

static _Noreturn void become(const struct launcher *l, int channel)
{
    (void)dup2(channel, CHANNEL);
    if (channel == CHANNEL)
        (void)fcntl(CHANNEL, F_SETFD, 0);
    (void)close_range(OWN, ~0U, 0);
    for (size_t i = 0; i < ARRAY_LEN(not_heeded); i++)
        (void)sigaction(not_heeded[i], &l->before[i], NULL);
    early_signals_as_before();
    (void)execvp(l->argv[0], l->argv);
    say_why(l, CHANNEL);
    _exit(1);
}

static void reap(struct launcher *l)
{
    if (l->child > 0 && waitpid(l->child, NULL, WNOHANG) != 0)
        l->child = 0;
}

static void end_child(struct launcher *l)
{
    if (l->child <= 0)
        return;
    (void)kill(l->child, SIGKILL);
    while (waitpid(l->child, NULL, 0) < 0 && errno == EINTR)
        ;
    l->child = 0;
}

/* Whoever asks has given up the one before. */
static void run(struct launcher *l, int channel)
{
    end_child(l);
    l->child = fork();
    if (l->child == 0)
        become(l, channel);
    if (l->child < 0)
        say_why(l, channel);
}

static void on_child(int signum)
{
    (void)signum; /* only ends the wait, so that the child is reaped */
}

static void heed(struct launcher *l)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, child = {.sa_handler = on_child};
    for (size_t i = 0; i < ARRAY_LEN(not_heeded); i++)
        (void)sigaction(not_heeded[i], &ignore, &l->before[i]);
    (void)sigaction(SIGCHLD, &child, NULL);
}

/* 0: somebody asks; else weir has ended. */
static int wait_for(struct launcher *l, char said[FD_PACKET_MAX + 1], int *fd)
{
    struct pollfd at = {.fd = OWN, .events = POLLIN};
    while (poll(&at, 1, -1) < 0)
        reap(l);
    size_t len;
    int err = fd_packet_recv(OWN, said, &len, fd);
    return err != 0 ? err : len == 0 ? EPIPE : 0;
}

/* Its memory is not for weir, whose user it may have, to change. */
static _Noreturn void serve(char **argv, int own)
{
    struct launcher l = {.argv = argv};
    char said[FD_PACKET_MAX + 1];
    int fd;
    (void)prctl(PR_SET_NAME, "weir-launcher");
    (void)prctl(PR_SET_DUMPABLE, 0);
    heed(&l);
    prepare_environment();
    if (dup3(own, OWN, O_CLOEXEC) < 0 && own != OWN)
        _exit(1);
    (void)close(CHANNEL);
    (void)close_range(OWN + 1, ~0U, 0);
    while (wait_for(&l, said, &fd) == 0) {
        reap(&l);
        if (strcmp(said, RUN) == 0 && fd >= 0)
            run(&l, fd);
        else if (strcmp(said, KILL) == 0)
            end_child(&l);
        if (fd >= 0)
            (void)close(fd);
    }
    _exit(0);
}

/* By way of one that ends at once, so that it is nobody's child here. */
static bool fork_twice(char **argv, const int pair[2])
{
    int status = 1;
    pid_t first = fork();
    if (first == 0) {
        pid_t second = fork();
        if (second == 0) {
            close(pair[0]); /* also where there is no close_range: else weir would never end */
            serve(argv, pair[1]);
        }
        _exit(second < 0);
    }
    if (first < 0)
        return false;
    while (waitpid(first, &status, 0) < 0 && errno == EINTR)
        ;
    errno = EAGAIN;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int launcher_start(char **argv)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    /* Who ignores its children, as weir may have been started, learns nothing of them. */
    struct sigaction heeded = {.sa_handler = SIG_DFL}, before;
    (void)sigaction(SIGCHLD, &heeded, &before);
    bool there = fork_twice(argv, pair);
    int err = errno;
    (void)sigaction(SIGCHLD, &before, NULL);
    close(pair[1]);
    if (!there)
        close(pair[0]);
    errno = err;
    return there ? pair[0] : -1;
}

int launcher_run(int launcher, int channel)
{
    return launcher < 0 ? EBADF : fd_packet_send(launcher, RUN, strlen(RUN), channel);
}

void launcher_kill(int launcher)
{
    if (launcher >= 0)
        (void)fd_packet_send(launcher, KILL, strlen(KILL), -1);
}
