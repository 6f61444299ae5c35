/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a client's address, made once a conn, and where the client came to. An idle conn pays
 * for every byte of them, so what few ask for is read from the text again. Pure; any thread.
 */
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/http/stream.h"
#include "proxy/net/addr.h"

void http_peer_init(struct http_peer *peer, const struct net_addr *addr, const void *listener,
                    bool trusted)
{
    char text[NET_ADDR_TEXT];
    *peer = (struct http_peer){.listener = listener, .trusted = trusted};
    /* The path of a Unix client is empty or its own; neither belongs into a field. */
    struct span full =
        net_addr_is_unix(addr) ? net_addr_print_host(addr, text) : net_addr_print(addr, text);
    CHECK(full.len <= sizeof(peer->text));
    memcpy(peer->text, full.ptr, full.len);
    peer->text_len = (uint8_t)full.len;
    size_t host_len = net_addr_print_host(addr, text).len;
    peer->host_at = peer->text[0] == '[';
    peer->host_len = (uint8_t)host_len;
}

void http_peer_reached(struct http_peer *peer, const struct net_addr *local)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    peer->local_known = true;
    peer->local_port = net_addr_port(local);
    if (local->u.sa.sa_family == AF_INET) {
        memcpy(peer->local, mapped, sizeof(mapped));
        memcpy(peer->local + sizeof(mapped), &local->u.in.sin_addr, 4);
    } else if (local->u.sa.sa_family == AF_INET6) {
        memcpy(peer->local, &local->u.in6.sin6_addr, sizeof(peer->local));
    } else {
        peer->local_known = false;
    }
}

/* The address back from its text. False: it is none of IP. */
static bool peer_source(const struct http_peer *peer, struct net_addr *addr)
{
    char host[sizeof(peer->text)];
    unsigned port = 0;
    size_t at = peer->host_at + peer->host_len;
    memcpy(host, peer->text + peer->host_at, peer->host_len);
    host[peer->host_len] = '\0';
    for (at += 1 + (size_t)peer->host_at; at < peer->text_len; at++)
        port = port * 10 + (unsigned)(peer->text[at] - '0');
    return peer->host_len > 0 && net_addr_ip(addr, host, (uint16_t)port);
}

void http_peer_ends(const struct http_peer *peer, struct net_addr *from, struct net_addr *to)
{
    *to = (struct net_addr){0};
    if (!peer->local_known || !peer_source(peer, from)) {
        *from = *to;
        return;
    }
    to->len = sizeof(to->u.in6);
    to->u.in6.sin6_family = AF_INET6;
    to->u.in6.sin6_port = htons(peer->local_port);
    memcpy(&to->u.in6.sin6_addr, peer->local, sizeof(peer->local));
}
