/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conns of a load: opening them, writing requests, reading answers, opening again what ended.
 * A mode decides what is sent when, through its table of functions. One thread.
 */
#ifndef BENCH_LOAD_NET_H
#define BENCH_LOAD_NET_H

#include <netinet/in.h>
#include <sys/un.h>

#include "bench/load_answer.h"
#include "bench/load_hist.h"
#include "bench/load_request.h"
#include "bench/load_tls.h"
#include "proxy/base/list.h"

enum load_error {
    ERROR_CONNECT,    /* a conn could not be opened */
    ERROR_RESET,      /* RST, before the answer was complete */
    ERROR_CLOSED,     /* an end, before the answer was complete */
    ERROR_TIMEOUT,    /* no complete answer within --timeout */
    ERROR_STATUS,     /* an answer that is not 2xx (a WebSocket's: not 101) */
    ERROR_BAD_ANSWER, /* not HTTP, or not what was to come back */
    LOAD_ERRORS
};

enum conn_state {
    CONN_DOWN, /* waits in `down` to be opened, or is given up */
    CONN_CONNECTING,
    CONN_FREE,
    CONN_BUSY
};

struct conn {
    struct list_node node; /* in net.down while CONN_DOWN; a mode's own otherwise */
    int fd;
    SSL *ssl;            /* with --tls, from when it is connected */
    uint32_t generation; /* of fd: what epoll says of an older one is not about this */
    enum conn_state state;
    bool hup; /* the peer has ended it: what it sent can be read, and nothing more be asked */
    bool raw; /* after a 101: bytes go to the mode as they come */
    unsigned source;
    uint32_t carry_len;
    char *carry; /* an incomplete line or head, if carry_len is not 0 */
    struct answer answer;
    const struct request *request;
    uint64_t out_at;
    uint64_t since_ns; /* what latency counts from: sent (closed loop) or due (open loop) */
    uint64_t sent_ns;  /* when it was given to the socket, or was to be */
    uint64_t free_ns;  /* when it became free */
    uint64_t number;   /* of the request; the mode's */
    uint64_t retry_ns; /* CONN_DOWN: not to be opened before */
};

struct net;

/* Called from net_turn() only. The functions may send; none may free. */
struct net_mode {
    void (*up)(struct net *n, struct conn *c);       /* connected: free, and in no list */
    void (*answered)(struct net *n, struct conn *c); /* c->answer is complete; c is busy still */
    void (*ready)(struct net *n, struct conn *c);    /* after an answer, if c can be used again */
    /* c has ended and is in no list. Without a request on it that is no error. If it is true, c is
     * opened again. */
    bool (*lost)(struct net *n, struct conn *c, enum load_error why, bool in_request);
    /* Optional: bytes of a raw conn; false ends it as a bad answer. */
    bool (*bytes)(struct net *n, struct conn *c, const char *bytes, size_t len);
    /* Optional: takes over what comes on a conn that is up. */
    void (*readable)(struct net *n, struct conn *c);
};

struct load_totals {
    uint64_t sent, answered, opened;
};

struct net {
    const struct load_options *options;
    const struct net_mode *mode;
    void *owner; /* the mode's */
    int epfd;
    SSL_CTX *tls; /* NULL: without */
    struct conn *conns;
    unsigned connecting, connecting_limit;
    struct list_node down;
    uint64_t now_ns, next_scan_ns;
    bool stdin_ended, no_pwait2;
    int family, last_errno;
    int rcvbuf;             /* 0: the kernel's choice */
    const char *last_bytes; /* while `answered` runs: the bytes that ended the answer */
    size_t last_len;
    struct sockaddr_storage address;
    socklen_t address_len;
    /* counted from the beginning of what is measured */
    uint64_t errors[LOAD_ERRORS], statuses[6]; /* by class; [0] is unused */
    uint64_t bytes_in, bytes_out;
    struct load_totals total; /* from the very beginning */
};

/* Ends the program with 1: what happened, and what to do. */
_Noreturn void net_die(const char *what, const char *remedy);

uint64_t net_clock(void);

void net_init(struct net *n, const struct load_options *o, const struct net_mode *mode,
              void *owner);
void net_fini(struct net *n);

/* Opens every conn; returns when each is up or has failed. With not one up, ends the program. The
 * mode's `up` is called for each. */
void net_open_all(struct net *n);

/* Handles what happens until `until_ns` at the latest, or until something has happened. Returns how
 * many events there were, or -1 if a signal came. */
int net_turn(struct net *n, uint64_t until_ns);

/* Whether SIGINT or SIGTERM came. */
bool net_stopped(void);

/* n->stdin_ended becomes true when it does. */
void net_watch_stdin(struct net *n);

/* Sends a request on a free conn. */
void net_send(struct net *n, struct conn *c, const struct request *r, uint64_t since_ns);

/* Reads at most `most` bytes of an answer. */
void net_read_some(struct net *n, struct conn *c, size_t most);

/* Opens a conn that was lost and is not opened again by itself. */
void net_reopen(struct net *n, struct conn *c);

/* Ends a conn: counts why if a request is on it, tells the mode. */
void net_lose(struct net *n, struct conn *c, enum load_error why);

/* Forgets what was counted so far, but for the totals. */
void net_begin_measuring(struct net *n);

#endif
