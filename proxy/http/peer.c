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
    struct span host = net_addr_print_host(addr, text);
    CHECK(host.len <= sizeof(peer->host));
    memcpy(peer->host, host.ptr, host.len);
    peer->host_len = (uint8_t)host.len;
    struct span full = net_addr_is_unix(addr) ? host : net_addr_print(addr, text);
    CHECK(full.len <= sizeof(peer->text));
    memcpy(peer->text, full.ptr, full.len);
    peer->text_len = (uint8_t)full.len;
}
