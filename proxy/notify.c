/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sd_notify(3) without its library: a datagram of NAME=VALUE lines to the socket of NOTIFY_SOCKET.
 * Owns no socket between two messages; must never keep the control thread for longer than a second.
 * Control thread.
 */
#include "proxy/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/base/env.h"
#include "proxy/base/log.h"

#define PATIENCE_S 1              /* with a manager that is behind */
#define GRACE_MS   UINT64_C(5000) /* from the last conn to the end of the process */

/* A path, or with "@" first a name in the abstract namespace. 0: it is neither. */
static socklen_t notify_address(const char *text, struct sockaddr_un *to)
{
    size_t len = strlen(text);
    if ((text[0] != '/' && text[0] != '@') || text[1] == '\0' || len >= sizeof(to->sun_path))
        return 0;
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to->sun_path, text, len);
    if (text[0] == '/')
        return (socklen_t)sizeof(*to);
    to->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* -> 0 or errno. A signal ends a wait that has a bound, whatever its handler says. */
static int notify_post(const struct sockaddr_un *to, socklen_t to_len, const char *words)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ssize_t sent;
    do
        sent = sendto(fd, words, strlen(words), MSG_NOSIGNAL, (const struct sockaddr *)to, to_len);
    while (sent < 0 && errno == EINTR);
    int err = sent < 0 ? errno : 0;
    close(fd);
    return err;
}

static void notify_send(const char *words)
{
    const char *where = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to;
    if (where == NULL || where[0] == '\0')
        return;
    socklen_t to_len = notify_address(where, &to);
    int err = to_len > 0 ? notify_post(&to, to_len, words) : EINVAL;
    if (err != 0)
        log_warn("cannot tell the service manager at %s: %s", where, strerror(err));
}

void notify_ready(void)
{
    notify_send("READY=1\nSTATUS=serving");
}

void notify_reloading(void)
{
    char words[96];
    /* The time, of CLOCK_MONOTONIC, tells the manager whether this is the reload that it asked for.
     */
    snprintf(words, sizeof(words), "RELOADING=1\nSTATUS=reloading\nMONOTONIC_USEC=%" PRIu64,
             uv_hrtime() / 1000);
    notify_send(words);
}

void notify_main(pid_t pid)
{
    char words[32];
    snprintf(words, sizeof(words), "MAINPID=%d", (int)pid);
    notify_send(words);
}

void notify_stopping(uint64_t within_ms)
{
    char words[96];
    snprintf(words, sizeof(words), "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%" PRIu64,
             (within_ms + GRACE_MS) * 1000);
    notify_send(words);
}

/* ---- the watchdog ---- */

/* How long weir may be silent, or 0: nobody listens for it. */
static uint64_t watchdog_ms(void)
{
    uint64_t pid = env_number("WATCHDOG_PID");
    return pid == 0 || pid == (uint64_t)getpid() ? env_number("WATCHDOG_USEC") / 1000 : 0;
}

static void on_watchdog(uv_timer_t *timer)
{
    struct notify *n = timer->data;
    if (n->well(n->ctx))
        notify_send("WATCHDOG=1");
}

void notify_init(struct notify *n, uv_loop_t *loop, bool (*well)(void *ctx), void *ctx)
{
    uint64_t patience = watchdog_ms();
    n->well = well;
    n->ctx = ctx;
    uv_timer_init(loop, &n->watchdog);
    n->watchdog.data = n;
    if (patience > 1)
        uv_timer_start(&n->watchdog, on_watchdog, patience / 2, patience / 2);
}

void notify_close(struct notify *n)
{
    if (!uv_is_closing((uv_handle_t *)&n->watchdog))
        uv_close((uv_handle_t *)&n->watchdog, NULL);
}
