/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of the admin listener: its context, which is made anew when its files have changed. The
 * conns that there are keep theirs. Control thread.
 */
#ifndef WEIR_ADMIN_TLS_H
#define WEIR_ADMIN_TLS_H

#include <uv.h>

#include "proxy/admin.h"
#include "proxy/cert_watch.h"
#include "proxy/tls_source.h"

struct admin_tls;

/* Of what was read at the start; source outlives it. NULL: OpenSSL refuses it, and the log says so.
 */
struct admin_tls *admin_tls_new(uv_loop_t *loop, const struct tls_source *source);

/* For new conns. */
struct tls_server_ctx *admin_tls_ctx(const struct admin_tls *tls);

/* What has certificates, of listeners, of pools, and last of the admin listener, by index below
 * that number. False: there is no TLS at index. */
size_t admin_certs_count(const struct admin_view *view);
bool admin_certs_at(const struct admin_view *view, size_t index, struct cert_status *out);

/* Looks at no file any more; the loop must run before admin_tls_free. NULL is fine for both. */
void admin_tls_close(struct admin_tls *tls);
void admin_tls_free(struct admin_tls *tls);

#endif
