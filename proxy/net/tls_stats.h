/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of TLS handshakes, of one side of one worker. Reactor's thread; read by any. */
#ifndef WEIR_NET_TLS_STATS_H
#define WEIR_NET_TLS_STATS_H

#include <string.h>

#include "proxy/base/stats.h"
#include "proxy/net/tls.h"

struct tls_stats {
    struct counter done[2][2]; /* [TLS 1.3][resumed] */
    struct counter failed;
};

/* A handshake has ended. */
static inline void tls_stats_count(struct tls_stats *stats, const struct tls_info *info)
{
    if (!info->done)
        counter_inc(&stats->failed);
    else
        counter_inc(&stats->done[strcmp(info->protocol, "TLSv1.3") == 0][info->resumed]);
}

#endif
