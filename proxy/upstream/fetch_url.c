/* SPDX-License-Identifier: Apache-2.0 */
/* Reading URLs of servers. Pure; any thread. */
#include "proxy/upstream/fetch_url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/span.h"

static const char odd_host[] = "its host is neither a name nor an address";
static const char odd_port[] = "its port is not a number from 1 to 65535";

/* Takes the scheme off. */
static bool read_scheme(struct fetch_url *url, struct span *rest)
{
    static const struct span schemes[] = {SPAN_LIT("http://"), SPAN_LIT("https://")};
    for (size_t i = 0; i < 2; i++) {
        struct span front = span_of(rest->ptr, schemes[i].len);
        if (rest->len < schemes[i].len || !span_eq_nocase(front, schemes[i]))
            continue;
        url->tls = i == 1;
        *rest = span_of(rest->ptr + front.len, rest->len - front.len);
        return true;
    }
    return false;
}

static bool host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static bool read_host(struct fetch_url *url, struct span host, bool v6)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    if (host.len == 0 || host.len > FETCH_HOST_MAX)
        return false;
    for (size_t i = 0; i < host.len; i++) {
        url->host[i] = ascii_lower(host.ptr[i]);
        if (!v6 && !host_byte(url->host[i]))
            return false;
    }
    url->host[host.len] = '\0';
    url->ip = inet_pton(v6 ? AF_INET6 : AF_INET, url->host, bytes) == 1;
    return url->ip || !v6;
}

static bool read_port(struct fetch_url *url, struct span text)
{
    uint32_t port = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || port > UINT16_MAX)
            return false;
        port = port * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    url->port = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

/* What is between the scheme and the path. NULL: it is fine. */
static const char *read_authority(struct fetch_url *url, struct span text)
{
    bool v6 = text.len > 0 && text.ptr[0] == '[';
    const char *end = v6 ? memchr(text.ptr, ']', text.len) : memchr(text.ptr, ':', text.len);
    size_t n = end != NULL ? (size_t)(end - text.ptr) : text.len;
    if (text.len > 0 && memchr(text.ptr, '@', text.len) != NULL)
        return "it has a user or a password, which does not go there";
    if (v6 && end == NULL)
        return odd_host;
    if (!read_host(url, span_of(text.ptr + v6, n - v6), v6))
        return odd_host;
    struct span rest = span_of(text.ptr + n + v6, text.len - n - v6);
    if (rest.len > 0 && rest.ptr[0] != ':')
        return odd_host;
    url->port = url->tls ? 443 : 80;
    return rest.len == 0 || read_port(url, span_of(rest.ptr + 1, rest.len - 1)) ? NULL : odd_port;
}

static const char *read_path(struct fetch_url *url, struct span path)
{
    while (path.len > 0 && path.ptr[path.len - 1] == '/')
        path.len--;
    if (path.len > FETCH_PATH_MAX)
        return "its path is too long";
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] == '?' || path.ptr[i] == '#')
            return "it has a query or a fragment, which does not go there";
        if (path.ptr[i] <= ' ' || path.ptr[i] > '~')
            return "its path has a byte that has to be escaped (%20)";
    }
    memcpy(url->path, path.ptr, path.len);
    url->path[path.len] = '\0';
    return NULL;
}

bool fetch_url_parse(struct fetch_url *url, const char *text, const char **why)
{
    struct span rest = span_str(text);
    *url = (struct fetch_url){0};
    if (!read_scheme(url, &rest)) {
        *why = "it begins with neither http:// nor https://";
        return false;
    }
    size_t n = strcspn(rest.ptr, "/?#");
    *why = read_authority(url, span_of(rest.ptr, n));
    if (*why == NULL)
        *why = read_path(url, span_of(rest.ptr + n, rest.len - n));
    return *why == NULL;
}

const char *fetch_url_authority(const struct fetch_url *url, char out[FETCH_AUTHORITY])
{
    bool v6 = strchr(url->host, ':') != NULL;
    int n = snprintf(out, FETCH_AUTHORITY, v6 ? "[%s]" : "%s", url->host);
    if (url->port != (url->tls ? 443 : 80))
        snprintf(out + n, FETCH_AUTHORITY - (size_t)n, ":%u", url->port);
    return out;
}
