/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor-uring: the floor (floor.c) on io_uring. It copies bytes between a client conn and an
 * upstream conn of its own, and looks at none of them. Every conn has one multishot recv with
 * buffers that the kernel takes from one ring; what has come is sent from that same buffer, which
 * goes back when it is out. All sends of a turn and the wait for the next events are one
 * io_uring_enter(): a request costs no system call of its own at all.
 *
 * Owns its ring, its buffers and its sockets. Must never look at a byte that it forwards, nor grow
 * features (see floor.c). One thread; the kernel does the work of completions in it too, when it
 * waits (DEFER_TASKRUN), where the kernel offers that.
 */
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/floor_setup.h"

/* Enough buffers for each of some hundred conns to have one on its way; a power of two. A conn that
 * finds none is armed again in the next turn. Large ones, since a body is received and sent by the
 * buffer. */
enum { ENTRIES = 4096, BUFFERS = 1024, BUFFER_SIZE = 64 * 1024, GROUP = 0 };

/* The lowest bits of user_data, which is otherwise an end's address. */
enum { ON_RECV, ON_SEND, ON_CONNECT, ON_BITS = 7 };

struct pair;

/* One socket of a pair, and what waits to be sent to it, in order. */
struct end {
    int fd;
    bool receiving;               /* its recv is armed */
    bool eof;                     /* it has said its end; the peer is told when `out` is empty */
    bool sending;                 /* the head of `out` is on its way */
    uint16_t out_first, out_last; /* buffers; valid if out_count */
    unsigned out_count;
    uint32_t out_at; /* bytes of the first that are sent */
    struct end *next_to_arm;
    bool to_arm;
    struct pair *pair;
};

struct pair {
    struct end client, upstream;
    bool connected, dead;
    unsigned pending; /* operations that will still complete */
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *memory;
static struct {
    uint32_t len;
    uint16_t next; /* of the same end's queue */
} used[BUFFERS];
static struct sockaddr_in upstream_addr;
static struct end *to_arm; /* found no buffer */
static int listener;

static struct io_uring_sqe *entry(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
        if (!sqe)
            floor_die("no room in the ring", ENOSPC);
    }
    return sqe;
}

static void set_data(struct io_uring_sqe *sqe, void *data, unsigned kind)
{
    sqe->user_data = (uintptr_t)data | kind;
}

static void give_back(uint16_t id)
{
    io_uring_buf_ring_add(buffers, memory + (size_t)id * BUFFER_SIZE, BUFFER_SIZE, id, BUFFERS - 1,
                          0);
    io_uring_buf_ring_advance(buffers, 1);
}

static struct end *peer_of(struct end *e)
{
    return e == &e->pair->client ? &e->pair->upstream : &e->pair->client;
}

static void arm_recv(struct end *e)
{
    struct io_uring_sqe *sqe = entry();

    io_uring_prep_recv_multishot(sqe, e->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    set_data(sqe, e, ON_RECV);
    e->receiving = true;
    e->pair->pending++;
}

static void send_first(struct end *to)
{
    uint16_t id = to->out_first;
    struct io_uring_sqe *sqe = entry();

    io_uring_prep_send(sqe, to->fd, memory + (size_t)id * BUFFER_SIZE + to->out_at,
                       used[id].len - to->out_at, MSG_NOSIGNAL);
    set_data(sqe, to, ON_SEND);
    to->sending = true;
    to->pair->pending++;
}

static void drop_out(struct end *e)
{
    for (; e->out_count; e->out_count--) {
        uint16_t id = e->out_first;
        e->out_first = used[id].next;
        give_back(id);
    }
}

/* The pair goes when the kernel is done with it. shutdown() makes what is armed complete. */
static void pair_kill(struct pair *p)
{
    if (p->dead)
        return;
    p->dead = true;
    shutdown(p->client.fd, SHUT_RDWR);
    shutdown(p->upstream.fd, SHUT_RDWR);
}

static void pair_free_if_done(struct pair *p)
{
    if (!p->dead || p->pending || p->client.to_arm || p->upstream.to_arm)
        return;
    drop_out(&p->client);
    drop_out(&p->upstream);
    close(p->client.fd);
    close(p->upstream.fd);
    free(p);
}

static void pass_eof(struct end *from)
{
    struct end *to = peer_of(from);

    if (to->out_count)
        return;
    if (to->eof && !from->out_count)
        pair_kill(from->pair);
    else
        shutdown(to->fd, SHUT_WR);
}

static void arm_later(struct end *e)
{
    if (e->to_arm)
        return;
    e->to_arm = true;
    e->next_to_arm = to_arm;
    to_arm = e;
}

static void on_recv(struct end *e, int result, unsigned flags)
{
    struct end *to = peer_of(e);

    if (!(flags & IORING_CQE_F_MORE)) {
        e->receiving = false;
        e->pair->pending--;
    }
    if (flags & IORING_CQE_F_BUFFER) {
        uint16_t id = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        if (result <= 0 || e->pair->dead) {
            give_back(id);
        } else {
            used[id].len = (uint32_t)result;
            if (to->out_count++)
                used[to->out_last].next = id;
            else
                to->out_first = id;
            to->out_last = id;
            if (!to->sending && e->pair->connected)
                send_first(to);
        }
    }
    if (e->pair->dead)
        return;
    if (result == 0) {
        e->eof = true;
        pass_eof(e);
    } else if (result < 0 && result != -ENOBUFS && result != -EINTR && result != -EAGAIN) {
        pair_kill(e->pair);
    } else if (!e->receiving) {
        arm_later(e);
    }
}

static void on_send(struct end *to, int result)
{
    struct end *from = peer_of(to);
    uint16_t id = to->out_first;

    to->pair->pending--;
    to->sending = false;
    if (to->pair->dead)
        return;
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        pair_kill(to->pair);
        return;
    }
    to->out_at += result > 0 ? (uint32_t)result : 0;
    if (to->out_at == used[id].len) {
        to->out_at = 0;
        to->out_first = used[id].next;
        to->out_count--;
        give_back(id);
    }
    if (to->out_count)
        send_first(to);
    else if (from->eof)
        pass_eof(from);
}

static void on_connected(struct end *upstream, int result)
{
    struct pair *p = upstream->pair;

    p->pending--;
    if (result < 0) {
        pair_kill(p);
        return;
    }
    p->connected = true;
    arm_recv(upstream);
    if (upstream->out_count)
        send_first(upstream);
}

static void end_init(struct end *e, struct pair *p, int fd)
{
    e->fd = fd;
    e->pair = p;
    floor_no_delay(fd);
}

static void arm_accept(void)
{
    struct io_uring_sqe *sqe = entry();

    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    set_data(sqe, NULL, ON_RECV);
}

static void on_client(int client, unsigned flags)
{
    struct pair *p = calloc(1, sizeof(*p));
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct io_uring_sqe *sqe;

    if (client < 0 || !p || upstream < 0)
        floor_die("a new conn", client < 0 ? -client : errno);
    end_init(&p->client, p, client);
    end_init(&p->upstream, p, upstream);
    sqe = entry();
    io_uring_prep_connect(sqe, upstream, (struct sockaddr *)&upstream_addr, sizeof(upstream_addr));
    set_data(sqe, &p->upstream, ON_CONNECT);
    p->pending++;
    arm_recv(&p->client);
    if (!(flags & IORING_CQE_F_MORE))
        arm_accept();
}

static void on_completion(const struct io_uring_cqe *cqe)
{
    struct end *e = (struct end *)(uintptr_t)(cqe->user_data & ~(uint64_t)ON_BITS);
    struct pair *p;

    if (!e) {
        on_client(cqe->res, cqe->flags);
        return;
    }
    p = e->pair;
    switch (cqe->user_data & ON_BITS) {
    case ON_RECV:
        on_recv(e, cqe->res, cqe->flags);
        break;
    case ON_SEND:
        on_send(e, cqe->res);
        break;
    case ON_CONNECT:
        on_connected(e, cqe->res);
        break;
    default:
        break;
    }
    pair_free_if_done(p);
}

static void arm_waiting(void)
{
    struct end *list = to_arm;

    to_arm = NULL;
    while (list) {
        struct end *e = list;
        list = e->next_to_arm;
        e->to_arm = false;
        if (!e->pair->dead && !e->receiving && !e->eof)
            arm_recv(e);
        pair_free_if_done(e->pair);
    }
}

/* From the cheapest that newer kernels offer to what every kernel with multishot recv (6.0) has. */
static void make_ring(void)
{
    static const struct {
        unsigned flags;
        const char *what;
    } kinds[] = {{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, NULL},
                 {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, "no DEFER_TASKRUN (6.1)"},
                 {0, "neither DEFER_TASKRUN (6.1) nor SINGLE_ISSUER (6.0)"}};
    int result = -1;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && result < 0; i++) {
        struct io_uring_params params = {.flags = kinds[i].flags | IORING_SETUP_CQSIZE,
                                         .cq_entries = 4 * ENTRIES};
        result = io_uring_queue_init_params(ENTRIES, &ring, &params);
        if (result == 0 && kinds[i].what)
            fprintf(stderr, "floor-uring: this kernel has %s; it costs more so\n", kinds[i].what);
    }
    if (result < 0)
        floor_die("io_uring is not to be had here (kernel.io_uring_disabled, seccomp?)", -result);
}

static void make_buffers(void)
{
    struct io_uring_buf_reg registration = {.ring_entries = BUFFERS, .bgid = GROUP};
    int result;

    if (posix_memalign((void **)&buffers, 4096, BUFFERS * sizeof(struct io_uring_buf)) != 0 ||
        posix_memalign((void **)&memory, 4096, (size_t)BUFFERS * BUFFER_SIZE) != 0)
        floor_die("buffers", ENOMEM);
    registration.ring_addr = (uintptr_t)buffers;
    result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0)
        floor_die("no rings of buffers: this needs Linux 6.0 or newer", -result);
    io_uring_buf_ring_init(buffers);
    for (unsigned i = 0; i < BUFFERS; i++)
        give_back((uint16_t)i);
}

int main(int argc, char **argv)
{
    listener = floor_begin(argc, argv, SOCK_CLOEXEC, &upstream_addr);
    make_ring();
    make_buffers();
    arm_accept();
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        int result = io_uring_submit_and_wait(&ring, 1);
        if (result < 0 && result != -EINTR)
            floor_die("io_uring_enter", -result);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            on_completion(cqe);
            n++;
        }
        io_uring_cq_advance(&ring, n);
        arm_waiting();
    }
}
