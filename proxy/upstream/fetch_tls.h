/* SPDX-License-Identifier: Apache-2.0 */
/* How weir itself speaks TLS to a server (fetch.h). Control thread. */
#ifndef WEIR_UPSTREAM_FETCH_TLS_H
#define WEIR_UPSTREAM_FETCH_TLS_H

#include "proxy/net/tls_ctx.h"
#include "proxy/upstream/fetch.h"

/* Reads what tls names; of options all but ca and cert are taken as they are. NULL with *error set
 * to malloc'd text. */
struct tls_client_ctx *fetch_tls_ctx(const struct fetch_tls *tls,
                                     const struct tls_client_options *options, char **error);

#endif
