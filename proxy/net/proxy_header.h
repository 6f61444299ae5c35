/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header of the PROXY protocol, version 1 (a line) and 2 (binary), by which a proxy in front
 * tells who its client is before anything else is said on a connection; read and written. Pure; any
 * thread.
 */
#ifndef WEIR_NET_PROXY_HEADER_H
#define WEIR_NET_PROXY_HEADER_H

#include "proxy/net/addr.h"

/* A longer one is refused: what is told beside the addresses is a few hundred bytes. */
#define PROXY_HEADER_BYTES 4096

enum proxy_header_verdict {
    PROXY_HEADER_MORE, /* a header so far, but not yet the whole of it */
    PROXY_HEADER_DONE,
    PROXY_HEADER_BAD, /* no header, or a malformed one */
};

struct proxy_header {
    size_t length; /* bytes of it */
    bool told;     /* source and destination are there; else the connection's own count */
    struct net_addr source, destination;
};

/*
 * Reads the header at the start of in, which may be as short as it likes: the verdict does not
 * depend on how the bytes were cut. Says BAD at the first byte that no header can have there. out
 * is filled when DONE; it tells of TCP over IPv4 or IPv6 only. A health check of the proxy itself
 * (LOCAL) and an unknown family tell nothing. A checksum (CRC-32C) is checked if there is one.
 */
enum proxy_header_verdict proxy_header_read(struct span in, struct proxy_header *out);

enum proxy_header_version {
    PROXY_HEADER_NONE = 0,
    PROXY_HEADER_V1 = 1,
    PROXY_HEADER_V2 = 2,
};

#define PROXY_HEADER_WRITE_MAX 108 /* longest header that is written, NUL included */

/* A connection from source to destination. Addresses that are not both of IP are left out, as
 * UNKNOWN or LOCAL; IPv4 beside IPv6 becomes a mapped address. Returns the length. */
size_t proxy_header_write(enum proxy_header_version version, const struct net_addr *source,
                          const struct net_addr *destination, char out[PROXY_HEADER_WRITE_MAX]);

#endif
