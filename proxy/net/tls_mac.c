/* SPDX-License-Identifier: Apache-2.0 */
/* Message authentication by OpenSSL. Owns nothing; must never keep a key. Any thread. */
#include "proxy/net/tls_mac.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

bool tls_mac(struct span key, struct span text, uint8_t out[TLS_MAC_BYTES])
{
    unsigned len = TLS_MAC_BYTES;
    return HMAC(EVP_sha256(), key.ptr, (int)key.len, (const unsigned char *)text.ptr, text.len, out,
                &len) != NULL;
}

bool tls_digest(struct span text, uint8_t out[TLS_MAC_BYTES])
{
    return EVP_Digest(text.ptr, text.len, out, NULL, EVP_sha256(), NULL) == 1;
}

bool tls_random(uint8_t *out, size_t n)
{
    return RAND_priv_bytes(out, (int)n) == 1;
}
