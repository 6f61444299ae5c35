/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a pool's configuration to the cookies of its sessions. Owns the key that stands in where
 * none is configured, for as long as the process lives: sessions outlive a reload. Control thread.
 */
#include "proxy/runtime_sticky.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_mac.h"
#include "proxy/upstream/pool.h"

static struct {
    uint8_t bytes[TLS_MAC_BYTES];
    bool made;
} own_key;

static bool key_of(const struct config_sticky *from, struct span *key)
{
    *key = span_str(from->secret);
    if (key->len > 0)
        return true;
    if (!own_key.made)
        own_key.made = tls_random(own_key.bytes, sizeof(own_key.bytes));
    *key = span_of((const char *)own_key.bytes, sizeof(own_key.bytes));
    return own_key.made;
}

/* What an endpoint is known by is its address as it is configured, on every instance. */
static bool token_of(struct span key, const char *address, uint32_t twin, char out[LB_TOKEN_LEN])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t mac[TLS_MAC_BYTES];
    char text[NET_ADDR_TEXT + 300];
    int n = twin == 0 ? snprintf(text, sizeof(text), "%s", address)
                      : snprintf(text, sizeof(text), "%s\n%u", address, twin);
    CHECK(n > 0 && (size_t)n < sizeof(text));
    if (!tls_mac(key, span_of(text, (size_t)n), mac))
        return false;
    for (int i = 0; i < LB_TOKEN_LEN; i++)
        out[i] = digits[mac[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    return true;
}

static bool attach_tokens(const struct config_pool *from, struct pool_spec *to)
{
    struct span key;
    char(*tokens)[LB_TOKEN_LEN] = mem_need(malloc((size_t)to->n_endpoints * LB_TOKEN_LEN));
    bool ok = key_of(&from->sticky, &key);
    for (uint32_t i = 0; ok && i < to->n_endpoints; i++)
        ok = token_of(key, from->endpoints[i].address.text, to->endpoints[i].twin, tokens[i]);
    if (ok)
        lb_sticky_attach(to->balance, tokens);
    free(tokens);
    return ok;
}

static struct span attributes_of(const struct config_sticky *from)
{
    char text[STICKY_ATTRIBUTES_MAX], age[40] = "";
    if (from->ttl_ms > 0)
        snprintf(age, sizeof(age), "; Max-Age=%llu", (unsigned long long)from->ttl_ms / 1000);
    int n = snprintf(text, sizeof(text), "; Path=%s%s; HttpOnly; SameSite=Lax", from->path, age);
    CHECK(n > 0 && (size_t)n < sizeof(text)); /* config has refused longer paths */
    return span_str(mem_need(strdup(text)));
}

bool runtime_sticky(const struct config_pool *from, struct pool_spec *to,
                    struct config_errors *errs)
{
    if (!from->sticky.enabled)
        return true;
    if (!attach_tokens(from, to)) {
        config_errors_add(errs, CONFIG_ERROR, from->sticky.pos, NULL,
                          "cannot make the keys of its cookies: no memory, or no random numbers");
        return false;
    }
    to->sticky.cookie = span_str(mem_need(strdup(from->sticky.cookie)));
    to->sticky.attributes = attributes_of(&from->sticky);
    return true;
}
