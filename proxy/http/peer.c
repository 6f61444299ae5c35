/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a client's address, made once a conn. Pure; any thread. */
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
