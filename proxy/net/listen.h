/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets and accepting. A worker has a socket of its own for each address
 * (SO_REUSEPORT; Unix sockets are shared), and pauses when descriptors or conns run out: what waits
 * then waits in the kernel, nothing is refused.
 */
#ifndef WEIR_NET_LISTEN_H
#define WEIR_NET_LISTEN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/net/addr.h"
#include "proxy/net/reactor.h"

/* How many client conns the process may have; shared by all threads. A few more than max are
 * accepted so that they can be told; beyond these, accepting pauses. */
struct conn_budget {
    _Atomic uint32_t open, max;
};

struct listener {
    uint32_t magic;
    bool paused, closing;
    bool starved;  /* paused, and nothing was accepted since */
    uint8_t batch; /* conns to accept a turn */
    uint8_t full;  /* batches in a row that found as many */
    struct reactor *reactor;
    struct conn_budget *budget;
    struct watch watch;
    struct listener_more *more; /* sockets besides, or NULL */
    struct wheel_timer retry;   /* of a pause */
    /* A socket to take over; false: it could not be, and is closed. over: it is one too many. */
    bool (*accepted)(struct listener *, int fd, const struct net_addr *peer, bool over);
    /* Accepting pauses for a reason of errno, or 0 for the budget. */
    void (*pausing)(struct listener *, int error);
    void *owner;
};

/*
 * A bound and listening non-blocking socket, or -1 with errno. reuse: several sockets share the
 * port (TCP). A Unix path left over by a dead process is taken over; one in use is EADDRINUSE.
 * mode: permissions of a Unix socket. One that the service manager has passed (net/passed.h) is
 * taken as it is.
 */
int listen_socket(const struct net_addr *addr, bool reuse, uint32_t mode);

/*
 * One more for another worker, beside fd, which listens on that address: one of its own, which
 * listens once listener_start has it; or a copy, where sockets are shared, or the kernel lets us
 * have no other (another user opened fd). -1 with errno.
 */
int listen_beside(int fd, const struct net_addr *addr);

/* It listens at once, for a worker that the sandbox keeps from listen(2). 0, or -1 with errno. */
int listen_begin(int fd);

/* Removes the path of a Unix socket, unless it is the service manager's. */
void listen_remove(const struct net_addr *addr);

/* The address that a socket is bound to. */
void listen_bound(int fd, struct net_addr *addr);

/* The address that an accepted socket's peer came to. False: the kernel does not say. */
bool listen_reached(int fd, struct net_addr *addr);

/* Begins to accept on fd, which is taken over. Callbacks and owner must be set before. 0 or a libuv
 * error. */
int listener_start(struct listener *l, struct reactor *r, int fd, struct conn_budget *budget);

/* Accepts on this socket too, which is taken over; after listener_start. 0 or a libuv error. */
int listener_add(struct listener *l, int fd);

/* The descriptors that it accepts on, one after the other; -1: that were all. */
int listener_socket(const struct listener *l, size_t i);

/* Nobody new comes by it from now on: before listener_close, for sockets that no other process has
 * (but a service manager, whose stay as they are), or whoever came between the last accept and the
 * close would be reset. A client of TCP is refused a second later than else. True: somebody may be
 * half in, whom listener_close misses without listener_last_call. */
bool listener_shut(struct listener *l);

/* Waits a moment (2 ms), once for all that were shut, for those who are half in. */
void listener_last_call(void);

/* Stops, once what waits in its sockets is accepted, and closes them; the struct may go after this
 * turn. */
void listener_close(struct listener *l);

/* The same for one whose sockets another process has too, which accepts what waits in them. */
void listener_leave(struct listener *l);

static inline uint32_t conn_budget_max(struct conn_budget *budget)
{
    return atomic_load_explicit(&budget->max, memory_order_relaxed);
}

/* Are there more conns now than the budget allows? */
static inline bool conn_budget_over(struct conn_budget *budget)
{
    return atomic_load_explicit(&budget->open, memory_order_relaxed) > conn_budget_max(budget);
}

/* A conn that was accepted is gone: accepting goes on if it was paused for want of room. */
void listener_budget_freed(struct conn_budget *budget);

#endif
