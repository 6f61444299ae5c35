/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that c-ares makes, made again where a signal interrupted them. By itself c-ares
 * (1.18 to 1.34 at least) takes an interrupted read or write for a server that is gone, and a
 * question of which every try meets one for a server that does not answer.
 */
#ifndef WEIR_NET_DNS_CALLS_H
#define WEIR_NET_DNS_CALLS_H

struct ares_channeldata;

/* Before the channel's first question; a copy of the channel (ares_dup) is to be given them anew.
 * Only in memory, and so without errors. The channel's thread. */
void dns_calls_set(struct ares_channeldata *ares);

#endif
