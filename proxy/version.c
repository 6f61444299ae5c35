/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this weir is made of. Of a shared library it asks the library itself, which may be newer
 * than the one that weir was built with. Owns nothing. Any thread.
 */
#include "proxy/version.h"

#include <llhttp.h>
#include <uv.h>
#include <yaml.h>

#include "proxy/base/check.h"
#include "proxy/base/json.h"
#include "proxy/base/json_read.h"
#include "proxy/http/h2_session.h"
#include "proxy/net/dns_channel.h"
#include "proxy/net/tls_ctx.h"
#include "proxy/sandbox.h"

#define STRING_OF(x) #x
#define TEXT_OF(x)   STRING_OF(x)
#define LLHTTP_NUMBER             \
    TEXT_OF(LLHTTP_VERSION_MAJOR) \
    "." TEXT_OF(LLHTTP_VERSION_MINOR) "." TEXT_OF(LLHTTP_VERSION_PATCH)

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if defined(__SANITIZE_ADDRESS__)
#define BUILT "asan"
#elif defined(__SANITIZE_THREAD__)
#define BUILT "tsan"
#elif defined(WEIR_DEBUG)
#define BUILT "debug"
#else
#define BUILT "release"
#endif

/* What it speaks, to clients, endpoints and whoever started it. */
static const char *const features[] = {
    "http/1.1", "h2",       "h2c",      "grpc",      "websocket",     "tls1.2",
    "tls1.3",   "proxy_v1", "proxy_v2", "sd_notify", "sd_listen_fds",
};

struct library {
    const char *name;
    const char *version;
};

enum { N_LIBRARIES = 7 };

static void find_libraries(struct library libraries[N_LIBRARIES])
{
    libraries[0] = (struct library){"libuv", uv_version_string()};
    libraries[1] = (struct library){"llhttp", LLHTTP_NUMBER};
    libraries[2] = (struct library){"libyaml", yaml_get_version_string()};
    libraries[3] = (struct library){"nghttp2", h2_library_version()};
    libraries[4] = (struct library){"openssl", tls_library_version()};
    libraries[5] = (struct library){"c-ares", dns_library_version()};
    libraries[6] = (struct library){"jansson", json_read_library()};
}

static void print_lines(FILE *out, const struct library *libraries)
{
    const char *walls[SANDBOX_WALLS];
    fprintf(out, "weir %s\n", WEIR_VERSION);
    for (size_t i = 0; i < N_LIBRARIES; i++)
        fprintf(out, "%s %s\n", libraries[i].name, libraries[i].version);
    fputs("speaks", out);
    for (size_t i = 0; i < ARRAY_LEN(features); i++)
        fprintf(out, " %s", features[i]);
    unsigned n = sandbox_features(walls);
    fputs("\nsandbox", out);
    for (unsigned i = 0; i < n; i++)
        fprintf(out, " %s", walls[i]);
    fprintf(out, "\nbuilt by %s (%s)\n", COMPILER, BUILT);
}

static void print_json(FILE *out, const struct library *libraries)
{
    const char *walls[SANDBOX_WALLS];
    char buf[1024];
    struct json j;
    json_init(&j, buf, sizeof(buf));
    json_object_begin(&j);
    json_key(&j, "version");
    json_cstring(&j, WEIR_VERSION);
    json_key(&j, "libraries");
    json_object_begin(&j);
    for (size_t i = 0; i < N_LIBRARIES; i++) {
        json_key(&j, libraries[i].name);
        json_cstring(&j, libraries[i].version);
    }
    json_object_end(&j);
    json_key(&j, "features");
    json_array_begin(&j);
    for (size_t i = 0; i < ARRAY_LEN(features); i++)
        json_cstring(&j, features[i]);
    json_array_end(&j);
    json_key(&j, "sandbox");
    json_array_begin(&j);
    unsigned n = sandbox_features(walls);
    for (unsigned i = 0; i < n; i++)
        json_cstring(&j, walls[i]);
    json_array_end(&j);
    json_key(&j, "compiler");
    json_cstring(&j, COMPILER);
    json_key(&j, "build");
    json_cstring(&j, BUILT);
    json_object_end(&j);
    CHECK(!json_truncated(&j));
    struct span text = json_text(&j);
    fprintf(out, "%.*s\n", (int)text.len, text.ptr);
}

void version_print(FILE *out, bool json)
{
    struct library libraries[N_LIBRARIES];
    find_libraries(libraries);
    (json ? print_json : print_lines)(out, libraries);
}
