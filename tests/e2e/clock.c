/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preload to whose process it is later than it is: by as many milliseconds as the file says that
 * WEIR_CLOCK names (a number of 64 bits, mapped, which a test moves on). Who waits for events looks at
 * the clock every few milliseconds. Built and used by clock.py.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 5

static _Atomic int64_t none;
static _Atomic int64_t *ahead_ms = &none;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("WEIR_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = fd >= 0 ? mmap(NULL, sizeof(*ahead_ms), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (page == MAP_FAILED)
        abort();
    ahead_ms = page;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int err = real(id, now);
    int64_t ms = atomic_load(ahead_ms);
    if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE) {
        now->tv_sec += ms / 1000;
        now->tv_nsec += ms % 1000 * 1000000;
        now->tv_sec += now->tv_nsec / 1000000000;
        now->tv_nsec %= 1000000000;
    }
    return err;
}

int epoll_pwait(int fd, struct epoll_event *events, int n, int ms, const sigset_t *mask)
{
    static int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "epoll_pwait");
    return real(fd, events, n, ms > LOOK_MS ? LOOK_MS : ms, mask);
}

int epoll_wait(int fd, struct epoll_event *events, int n, int ms)
{
    return epoll_pwait(fd, events, n, ms, NULL);
}
