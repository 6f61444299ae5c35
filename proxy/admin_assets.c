/* SPDX-License-Identifier: Apache-2.0 */
/* Files as bytes of the program. Constant data; any thread. */
#include "proxy/admin_assets.h"

#include <stdio.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_mac.h"

/* The assembler reads the file, from the root of the tree, where make runs. */
#define ASSET(name, file)                                                \
    __asm__(".section .rodata\n"                                         \
            ".global " #name "_bytes, " #name "_end\n" #name "_bytes:\n" \
            ".incbin \"" file "\"\n" #name "_end:\n"                     \
            ".byte 0\n"                                                  \
            ".previous\n");                                              \
    extern const char name##_bytes[], name##_end[]

ASSET(weir_dashboard, "dashboard/index.html");
ASSET(weir_openapi, "docs/openapi.json");

struct span admin_dashboard(void)
{
    return span_of(weir_dashboard_bytes, (size_t)(weir_dashboard_end - weir_dashboard_bytes));
}

struct span admin_openapi(void)
{
    return span_of(weir_openapi_bytes, (size_t)(weir_openapi_end - weir_openapi_bytes));
}

/* What is between two tags, each of which is there. */
static struct span between(struct span page, struct span open, struct span close)
{
    const char *from = memmem(page.ptr, page.len, open.ptr, open.len);
    CHECK(from != NULL);
    from += open.len;
    const char *to = memmem(from, (size_t)(page.ptr + page.len - from), close.ptr, close.len);
    CHECK(to != NULL);
    return span_of(from, (size_t)(to - from));
}

/* Base64 of a digest: 44 characters and a NUL. */
static void encode(const uint8_t digest[TLS_MAC_BYTES], char out[45])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 44; i++) {
        int bit = i * 6, byte = bit / 8;
        unsigned next = byte + 1 < TLS_MAC_BYTES ? digest[byte + 1] : 0;
        unsigned pair = byte < TLS_MAC_BYTES ? (unsigned)digest[byte] << 8 | next : 0;
        out[i] = byte < TLS_MAC_BYTES ? digits[pair >> (10 - bit % 8) & 63] : '=';
    }
    out[43] = '=';
    out[44] = '\0';
}

static void hash_of(struct span text, char out[45])
{
    uint8_t digest[TLS_MAC_BYTES];
    if (!tls_digest(text, digest))
        mem_out();
    encode(digest, out);
}

struct span admin_policy(struct span page, char out[ADMIN_POLICY])
{
    char script[45], style[45];
    hash_of(between(page, SPAN_LIT("<script>"), SPAN_LIT("</script>")), script);
    hash_of(between(page, SPAN_LIT("<style>"), SPAN_LIT("</style>")), style);
    int n = snprintf(out, ADMIN_POLICY,
                     "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; "
                     "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                     "frame-ancestors 'none'",
                     script, style);
    CHECK(n > 0 && n < ADMIN_POLICY);
    return span_of(out, (size_t)n);
}
