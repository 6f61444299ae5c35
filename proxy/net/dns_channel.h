/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking DNS servers: c-ares on a libuv loop. It repeats what gets no answer, asks the next server,
 * and goes over to TCP where an answer does not fit. A channel is for a few questions that belong
 * together; a new one knows of changes of resolv.conf, or, with a line in the log, what that said
 * while it could be read. The loop's thread: the control thread.
 */
#ifndef WEIR_NET_DNS_CHANNEL_H
#define WEIR_NET_DNS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/net/addr.h"

struct dns_channel;

enum dns_outcome {
    DNS_FOUND,
    DNS_NO_NAME, /* there is no such name (NXDOMAIN) */
    DNS_NO_DATA, /* it has no records of that type */
    DNS_FAILED,  /* nobody knows */
};

/* What came of a question. bytes: the message, which may be there for all outcomes, or NULL. why:
 * of a failure. From the loop or from dns_channel_ask; dns_channel_end must not be called. */
typedef void dns_answer_fn(void *ctx, enum dns_outcome outcome, const char *why,
                           const uint8_t *bytes, size_t len);

/* The version of c-ares that runs. Any thread. */
const char *dns_library_version(void);

/* server: to ask instead of those of resolv.conf; or len 0. NULL with *error set. */
struct dns_channel *dns_channel_new(uv_loop_t *loop, const struct net_addr *server,
                                    const char **error);

/* Asks for the records of a type (enum dns_type). search: as the resolver's search domains have
 * it, else as it is. fn is called once, unless the channel is ended before. */
void dns_channel_ask(struct dns_channel *ch, const char *name, int type, bool search,
                     dns_answer_fn *fn, void *ctx);

/* The addresses of a host, in the order to try them: also from /etc/hosts, and with the search
 * domains. port: theirs. why NULL: there is at least one; else what to do about it. From the loop
 * or from dns_channel_find. */
#define DNS_ADDRESSES_MAX 16
typedef void dns_addresses_fn(void *ctx, const struct net_addr *addresses, size_t n,
                              const char *why);

/* fn is called once, unless the channel is ended before. */
void dns_channel_find(struct dns_channel *ch, const char *host, uint16_t port, dns_addresses_fn *fn,
                      void *ctx);

/* No answer follows. Frees itself once the loop has run. NULL is fine. */
void dns_channel_end(struct dns_channel *ch);

#endif
