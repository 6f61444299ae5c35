/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first moments of a process, and its last. Owns the mask of signals that it was started with;
 * must never hold what asks it to end before it is about to. Before there is a second thread, or
 * when there is none any more that takes signals.
 */
#include "proxy/early.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static sigset_t before;

static sigset_t asking(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    return set;
}

/* The lowest that is free is what open() returns. */
void early_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", O_RDWR);
}

/* gcc 12's TSan makes what it knows of a thread's signals at the thread's first blocking call, and
 * loses one that comes meanwhile; the loop's first wait would be after weir has said it is ready.
 */
static void sanitizer_prepare(void)
{
#if defined(__SANITIZE_THREAD__)
    (void)usleep(1);
#endif
}

void early_signals_hold(void)
{
    sigset_t set = asking();
    sanitizer_prepare();
    (void)sigprocmask(SIG_BLOCK, &set, &before);
}

void early_signals_let(void)
{
    sigset_t set = asking();
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void early_signals_end(void)
{
    sigset_t set = asking();
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

void early_signals_as_before(void)
{
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
}
