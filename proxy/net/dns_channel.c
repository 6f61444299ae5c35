/* SPDX-License-Identifier: Apache-2.0 */
/*
 * c-ares on libuv. Owns the channel, the watches of its sockets and its timer, and what resolv.conf
 * last said; must never destroy a channel from within its callbacks. The loop's thread, of which
 * there is one.
 */
#define CARES_NO_DEPRECATED /* what Debian 12 has is called otherwise later */
#include "proxy/net/dns_channel.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/net/dns_calls.h"

#define CHANNEL_MAGIC MAGIC('d', 'n', 's', 'c')
#define TIMEOUT_MS    1500 /* for the first answer; doubled for each repetition */
#define TRIES         3
#define UDP_BYTES     1232 /* which passes everywhere unfragmented */
#define RESOLV_CONF   "/etc/resolv.conf"

struct dns_channel {
    uint32_t magic;
    uv_loop_t *loop;
    ares_channel ares;
    uv_timer_t timer;
    struct dns_socket *sockets;
    bool ended;
};

struct dns_socket {
    uv_poll_t poll; /* first: its handle is what is closed */
    struct dns_channel *channel;
    struct dns_socket *next;
    ares_socket_t fd;
};

struct dns_question {
    struct dns_channel *channel;
    dns_answer_fn *fn;
    void *ctx;
};

static struct dns_channel *channel_of(void *data)
{
    return CAST_OBJ(dns_channel, data, CHANNEL_MAGIC);
}

/* ---- sockets and time ---- */

static void wind(struct dns_channel *ch);

static void process(struct dns_channel *ch, ares_socket_t readable, ares_socket_t writable)
{
    ares_process_fd(ch->ares, readable, writable);
    wind(ch);
}

static void on_timer(uv_timer_t *timer)
{
    process(channel_of(timer->data), ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void wind(struct dns_channel *ch)
{
    struct timeval tv;
    if (ares_timeout(ch->ares, NULL, &tv) == NULL)
        uv_timer_stop(&ch->timer);
    else
        uv_timer_start(&ch->timer, on_timer,
                       (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1, 0);
}

/* An error is read and written, which tells it. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct dns_socket *s = CONTAINER_OF(poll, dns_socket, poll);
    bool all = status < 0;
    process(s->channel, all || (events & UV_READABLE) ? s->fd : ARES_SOCKET_BAD,
            all || (events & UV_WRITABLE) ? s->fd : ARES_SOCKET_BAD);
}

static void on_socket_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF((uv_poll_t *)handle, dns_socket, poll));
}

static struct dns_socket **find(struct dns_channel *ch, ares_socket_t fd)
{
    struct dns_socket **at = &ch->sockets;
    while (*at != NULL && (*at)->fd != fd)
        at = &(*at)->next;
    return at;
}

static struct dns_socket *socket_new(struct dns_channel *ch, ares_socket_t fd)
{
    struct dns_socket *s = mem_need(calloc(1, sizeof(*s)));
    s->channel = ch;
    s->fd = fd;
    s->next = ch->sockets;
    if (uv_poll_init_socket(ch->loop, &s->poll, fd) != 0) {
        free(s); /* its question runs out of time */
        return NULL;
    }
    ch->sockets = s;
    return s;
}

/* c-ares is about to close it when it wants neither. */
static void on_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct dns_channel *ch = channel_of(data);
    struct dns_socket **at = find(ch, fd), *s = *at;
    if (readable || writable) {
        s = s != NULL ? s : socket_new(ch, fd);
        if (s != NULL)
            uv_poll_start(&s->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                          on_poll);
    } else if (s != NULL) {
        *at = s->next;
        uv_poll_stop(&s->poll);
        uv_close((uv_handle_t *)&s->poll, on_socket_closed);
    }
}

/* ---- questions ---- */

static enum dns_outcome outcome_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return DNS_FOUND;
    case ARES_ENOTFOUND:
        return DNS_NO_NAME;
    case ARES_ENODATA:
        return DNS_NO_DATA;
    default:
        return DNS_FAILED;
    }
}

static const char *why(int status)
{
    switch (status) {
    case ARES_ETIMEOUT:
        return "no DNS server answers in time; see whether it runs, and whether a firewall is in "
               "between";
    case ARES_ECONNREFUSED: /* of c-ares 1.18 also what SERVFAIL and REFUSED come to */
        return "no DNS server gives an answer: none listens there, or it says SERVFAIL or REFUSED; "
               "see whether it runs, and what it logs";
    case ARES_ESERVFAIL:
        return "the DNS server could not find out (SERVFAIL); its log should say why";
    case ARES_EREFUSED:
        return "the DNS server refuses to answer this machine (REFUSED); it has to allow it";
    case ARES_EBADRESP:
    case ARES_EFORMERR:
        return "the DNS server's answer is malformed";
    case ARES_EBADNAME:
        return "it is not a name that DNS has; see whether it is spelt right";
    default:
        return ares_strerror(status);
    }
}

static void on_answer(void *data, int status, int timeouts, unsigned char *bytes, int len)
{
    struct dns_question *q = data;
    (void)timeouts;
    if (!q->channel->ended)
        q->fn(q->ctx, outcome_of(status), why(status), bytes, len > 0 ? (size_t)len : 0);
    free(q);
}

void dns_channel_ask(struct dns_channel *ch, const char *name, int type, bool search,
                     dns_answer_fn *fn, void *ctx)
{
    struct dns_question *q = mem_need(malloc(sizeof(*q)));
    *q = (struct dns_question){ch, fn, ctx};
    if (search)
        ares_search(ch->ares, name, ns_c_in, type, on_answer, q);
    else
        ares_query(ch->ares, name, ns_c_in, type, on_answer, q);
    wind(ch);
}

/* ---- a host's addresses ---- */

struct dns_search {
    struct dns_channel *channel;
    dns_addresses_fn *fn;
    void *ctx;
};

static const char *why_none(int status)
{
    if (status == ARES_ENOTFOUND)
        return "there is no such name (NXDOMAIN)";
    return status == ARES_ENODATA ? "the name has no addresses" : why(status);
}

static void on_addresses(void *data, int status, int timeouts, struct ares_addrinfo *found)
{
    struct dns_search *search = data;
    struct net_addr addresses[DNS_ADDRESSES_MAX];
    size_t n = 0;
    (void)timeouts;
    const struct ares_addrinfo_node *node = found != NULL ? found->nodes : NULL;
    for (; node != NULL && n < DNS_ADDRESSES_MAX; node = node->ai_next)
        net_addr_from(&addresses[n++], node->ai_addr, node->ai_addrlen);
    if (!search->channel->ended)
        search->fn(search->ctx, addresses, n,
                   n > 0 ? NULL : why_none(status == ARES_SUCCESS ? ARES_ENODATA : status));
    ares_freeaddrinfo(found);
    free(search);
}

void dns_channel_find(struct dns_channel *ch, const char *host, uint16_t port, dns_addresses_fn *fn,
                      void *ctx)
{
    struct ares_addrinfo_hints hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NUMERICSERV};
    struct dns_search *search = mem_need(malloc(sizeof(*search)));
    char service[8];
    *search = (struct dns_search){ch, fn, ctx};
    snprintf(service, sizeof(service), "%u", port);
    ares_getaddrinfo(ch->ares, host, service, &hints, on_addresses, search);
    wind(ch);
}

/* ---- life ---- */

const char *dns_library_version(void)
{
    return ares_version(NULL);
}

static int set_server(struct dns_channel *ch, const struct net_addr *server)
{
    char text[NET_ADDR_TEXT];
    if (server->len == 0)
        return ARES_SUCCESS;
    net_addr_print(server, text);
    return ares_set_servers_ports_csv(ch->ares, text);
}

static void on_closed(uv_handle_t *handle)
{
    struct dns_channel *ch = channel_of(handle->data);
    ch->magic = 0;
    free(ch);
}

/* ---- resolv.conf ---- */

/* As it was when it could be read last; or NULL. Asks nothing. */
static ares_channel known;

/* A sandbox knows files by their inodes: another one by this name may be out of reach. c-ares takes
 * that for a file that is empty, and asks this machine. */
static bool out_of_reach(void)
{
    int fd = open(RESOLV_CONF, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES;
    close(fd);
    return false;
}

static void remember(const struct dns_channel *ch)
{
    if (known != NULL)
        ares_destroy(known);
    if (ares_dup(&known, ch->ares) != ARES_SUCCESS)
        known = NULL;
}

static int init_as_known(struct dns_channel *ch)
{
    struct ares_options options = {0};
    struct ares_addr_port_node *servers = NULL;
    int mask = 0, status = ares_save_options(known, &options, &mask);
    options.sock_state_cb = on_state;
    options.sock_state_cb_data = ch;
    if (status == ARES_SUCCESS)
        status = ares_init_options(&ch->ares, &options, mask | ARES_OPT_SOCK_STATE_CB);
    ares_destroy_options(&options);
    if (status != ARES_SUCCESS)
        return status;
    if (ares_get_servers_ports(known, &servers) == ARES_SUCCESS && servers != NULL)
        ares_set_servers_ports(ch->ares, servers); /* options have those of IPv4 alone */
    ares_free_data(servers);
    return status;
}

static int init_as_read(struct dns_channel *ch)
{
    struct ares_options options = {.flags = ARES_FLAG_EDNS,
                                   .timeout = TIMEOUT_MS,
                                   .tries = TRIES,
                                   .ednspsz = UDP_BYTES,
                                   .sock_state_cb = on_state,
                                   .sock_state_cb_data = ch};
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
               ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
    mask |= ARES_OPT_QUERY_CACHE; /* of 0 s: what is asked again is to be asked */
#endif
    return ares_init_options(&ch->ares, &options, mask);
}

/* Said once for each time that it happens. */
static void tell_out_of_reach(bool is)
{
    static bool told;
    if (is && !told)
        log_warn(RESOLV_CONF " is another file than before, which weir may not read (as root its "
                             "sandbox allows only the one that was there): it asks the name "
                             "servers that it knew; restart weir, or have it follow the file as "
                             "another user (\"user: weir\")");
    told = is;
}

static const char *init(struct dns_channel *ch, const struct net_addr *server)
{
    bool out = server->len == 0 && out_of_reach();
    if (out && known == NULL)
        return RESOLV_CONF " cannot be read: Permission denied; let weir's user read it, or name a "
                           "server for this pool";
    int status = out ? init_as_known(ch) : init_as_read(ch);
    if (status != ARES_SUCCESS)
        return ares_strerror(status);
    if (server->len == 0 && !out)
        remember(ch);
    dns_calls_set(ch->ares);
    if (server->len == 0)
        tell_out_of_reach(out);
    return NULL;
}

struct dns_channel *dns_channel_new(uv_loop_t *loop, const struct net_addr *server,
                                    const char **error)
{
    struct dns_channel *ch = mem_need(calloc(1, sizeof(*ch)));
    ch->magic = CHANNEL_MAGIC;
    ch->loop = loop;
    *error = init(ch, server);
    if (*error != NULL) {
        free(ch);
        return NULL;
    }
    uv_timer_init(loop, &ch->timer);
    ch->timer.data = ch;
    int status = set_server(ch, server);
    if (status == ARES_SUCCESS)
        return ch;
    *error = ares_strerror(status);
    dns_channel_end(ch);
    return NULL;
}

void dns_channel_end(struct dns_channel *ch)
{
    if (ch == NULL)
        return;
    ch->ended = true;
    ares_destroy(ch->ares); /* closes the sockets */
    CHECK(ch->sockets == NULL);
    uv_close((uv_handle_t *)&ch->timer, on_closed);
}
