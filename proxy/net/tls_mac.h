/* SPDX-License-Identifier: Apache-2.0 */
/* Message authentication, for what is neither a conn nor a certificate. Pure but for OpenSSL's
 * memory; any thread. */
#ifndef WEIR_NET_TLS_MAC_H
#define WEIR_NET_TLS_MAC_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/span.h"

#define TLS_MAC_BYTES 32

/* HMAC-SHA256 (RFC 2104) of text. False: out of memory. */
bool tls_mac(struct span key, struct span text, uint8_t out[TLS_MAC_BYTES]);

/* SHA-256 of text, which has no secret. False: out of memory. */
bool tls_digest(struct span text, uint8_t out[TLS_MAC_BYTES]);

/* n bytes that nobody can guess. False: the system has none. */
bool tls_random(uint8_t *out, size_t n);

#endif
