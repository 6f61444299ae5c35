/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, and a second socket beside one that does. Owns that until it has won; must never call
 * its owner from within the owner's call. Reactor's thread. */
#include "proxy/net/tcp_race.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

struct tcp_race {
    struct reactor *reactor;
    struct net_addr to;
    tcp_race_fn *over;
    void *owner;
    struct watch watch;
    struct wheel_timer timer;
    struct ready gone;
};

int tcp_connect(const struct net_addr *to, int *fd)
{
    int on = 1;
    *fd = socket(to->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return uv_translate_sys_error(errno);
    if (!net_addr_is_unix(to)) /* no harm if it fails: only slower */
        (void)setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(*fd, &to->u.sa, to->len) == 0)
        return 0;
    return errno == EINPROGRESS || errno == EINTR ? 1 : uv_translate_sys_error(errno);
}

int tcp_connect_status(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    return error != 0 ? uv_translate_sys_error(error) : 0;
}

/* What epoll has said of it in this turn may still be to come. */
static void on_gone(struct ready *ready)
{
    struct tcp_race *race = CONTAINER_OF(ready, tcp_race, gone);
    reactor_unhold(race->reactor);
    free(race);
}

void tcp_race_end(struct tcp_race *race)
{
    if (race == NULL)
        return;
    wheel_remove(&race->reactor->wheel, &race->timer);
    watch_close(&race->watch);
    reactor_later(race->reactor, &race->gone);
}

static void finish(struct tcp_race *race, int status)
{
    tcp_race_fn *over = race->over;
    void *owner = race->owner;
    int fd = -1;
    if (status == 0 && watch_arm(race->reactor, &race->watch, 0) == 0) {
        fd = race->watch.fd;
        race->watch.fd = -1;
    }
    tcp_race_end(race);
    over(owner, fd);
}

static void on_happened(struct watch *watch, uint32_t events)
{
    (void)events;
    finish(CONTAINER_OF(watch, tcp_race, watch), tcp_connect_status(watch->fd));
}

static void on_time(struct wheel_timer *timer)
{
    struct tcp_race *race = CONTAINER_OF(timer, tcp_race, timer);
    int fd, how = tcp_connect(&race->to, &fd);
    watch_init(&race->watch, fd, on_happened);
    if (how == 1)
        how = watch_arm(race->reactor, &race->watch, EPOLLOUT) == 0 ? 1 : UV_ENOMEM;
    if (how != 1)
        finish(race, how);
}

/* With the next tick of the clock: the owner is still in a call of its own. */
void tcp_race_now(struct tcp_race *race)
{
    if (race->watch.fd < 0 && wheel_armed(&race->timer))
        wheel_set(&race->reactor->wheel, &race->timer, race->reactor->now_ms);
}

struct tcp_race *tcp_race_new(struct reactor *r, const struct net_addr *to, uint32_t within_ms,
                              tcp_race_fn *over, void *owner)
{
    struct tcp_race *race = mem_need(calloc(1, sizeof(*race)));
    *race = (struct tcp_race){.reactor = r, .to = *to, .over = over, .owner = owner};
    race->to.also = NULL;
    watch_init(&race->watch, -1, on_happened);
    wheel_timer_init(&race->timer, on_time);
    uint32_t alone_ms = within_ms / 2 < TCP_RACE_MS ? within_ms / 2 : TCP_RACE_MS;
    wheel_set(&r->wheel, &race->timer, r->now_ms + alone_ms);
    list_init(&race->gone.link);
    race->gone.run = on_gone;
    reactor_hold(r);
    return race;
}
