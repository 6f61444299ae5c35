/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one word of the command line to a pool. Must not look anything up: whether a word is a name
 * is told by how it is written. Any thread.
 */
#include "config/sidecar_pool.h"

#include <string.h>

#include "config/emit.h"
#include "config/etcd_url.h"
#include "config/types.h"
#include "proxy/base/check.h"

static const char digits[] = "0123456789";

void sidecar_emit(FILE *out, struct span text)
{
    char copy[SIDECAR_TEXT];
    snprintf(copy, sizeof(copy), "%.*s", (int)text.len, text.ptr);
    emit_text(out, copy);
}

/* What is behind the last `by`, which goes with it; else nothing. */
static struct span cut_behind(struct span *text, char by)
{
    const char *at = memrchr(text->ptr, by, text->len);
    if (at == NULL)
        return span_of(NULL, 0);
    struct span behind = span_of(at + 1, text->len - (size_t)(at + 1 - text->ptr));
    text->len = (size_t)(at - text->ptr);
    return behind;
}

static void write_list(FILE *out, struct span rest)
{
    struct span one;
    for (const char *mark = "["; span_next_piece(&rest, ',', &one); mark = ", ") {
        fputs(mark, out);
        sidecar_emit(out, one);
    }
    fputc(']', out);
}

void sidecar_pool_write_list(FILE *out, const char *text)
{
    write_list(out, span_str(text));
}

/* ---- names ---- */

/* "localhost" is this machine, whatever DNS says (RFC 6761 section 6.3). */
static bool is_local(struct span name)
{
    static const struct span local = {"localhost", 9};
    if (name.len < local.len)
        return false;
    struct span end = span_of(name.ptr + name.len - local.len, local.len);
    return span_eq_nocase(end, local) && (name.len == local.len || end.ptr[-1] == '.');
}

/* The dot at the end, which keeps off the search domains, is no part of a host's name. */
static bool is_name(struct span name)
{
    if (name.len > 0 && name.ptr[name.len - 1] == '.')
        name.len--;
    return grammar_host_ok(name.ptr, name.len) && !grammar_host_is_numeric(name.ptr, name.len) &&
           !is_local(name);
}

static bool is_service(struct span text)
{
    return text.len > 0 && text.ptr[0] == '_' && is_name(text);
}

static bool is_dns(struct span text)
{
    if (span_skip(&text, SPAN_LIT("dns://")) || is_service(text))
        return true;
    if (span_starts(text, SPAN_LIT("unix:")))
        return false;
    struct span port = cut_behind(&text, ':');
    return port.ptr != NULL && is_name(text);
}

static void write_dns(FILE *out, struct span text)
{
    span_skip(&text, SPAN_LIT("dns://"));
    bool service = is_service(text);
    struct span port = service ? span_of(NULL, 0) : cut_behind(&text, ':');
    fputs("{ dns: { name: ", out);
    sidecar_emit(out, text);
    if (service)
        fputs(", type: srv", out);
    else if (port.len > 0 && strspn(port.ptr, digits) == port.len)
        fprintf(out, ", port: %.*s", (int)port.len, port.ptr);
    else if (port.ptr != NULL) {
        fputs(", port: ", out);
        sidecar_emit(out, port);
    }
    fputs(" } }", out);
}

/* ---- Kubernetes ---- */

static void write_kubernetes(FILE *out, struct span text)
{
    struct span port = cut_behind(&text, ':'), service = cut_behind(&text, '/');
    fputs("{ kubernetes: { service: ", out);
    sidecar_emit(out, service.ptr != NULL ? service : text);
    if (service.ptr != NULL) {
        fputs(", namespace: ", out);
        sidecar_emit(out, text);
    }
    if (port.ptr != NULL) {
        fputs(", port: ", out);
        sidecar_emit(out, port);
    }
    fputs(" } }", out);
}

/* ---- etcd ---- */

static const char *etcd_flaw(const char *text)
{
    struct etcd_url url;
    const char *why, *path = strchr(strstr(text, "//") + 2, '/');
    if (path == NULL || path[1] == '\0')
        return "expected etcd://HOST:PORT/PREFIX/, such as etcd://127.0.0.1:2379/services/orders/";
    etcd_url_parse(&url, text, &why);
    etcd_url_fini(&url);
    return why;
}

static void write_tls(FILE *out, const struct config_etcd *etcd)
{
    const struct {
        const char *name, *value;
    } options[] = {{"ca", etcd->tls.ca.text},
                   {"cert", etcd->tls.cert.text},
                   {"key", etcd->tls.key.text},
                   {"sni", etcd->tls.sni}};
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (options[i].value == NULL)
            continue;
        fprintf(out, "%s%s: ", any ? ", " : ", tls: { ", options[i].name);
        emit_text(out, options[i].value);
        any = true;
    }
    fputs(any ? " }" : ", tls: true", out);
}

static void write_etcd(FILE *out, const char *text)
{
    struct etcd_url url;
    const char *why;
    CHECK(etcd_url_parse(&url, text, &why));
    const struct config_etcd *etcd = &url.etcd;
    fputs("{ etcd: { servers: ", out);
    for (size_t i = 0; i < etcd->server_count; i++) {
        const char *host = etcd->servers[i].host;
        char server[SIDECAR_TEXT];
        snprintf(server, sizeof(server), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
                 etcd->servers[i].port);
        fputs(i == 0 ? "[" : ", ", out);
        emit_text(out, server);
    }
    fputs("], prefix: ", out);
    emit_text(out, etcd->prefix);
    if (etcd->tls.enabled)
        write_tls(out, etcd);
    if (etcd->user != NULL) {
        fputs(", user: ", out);
        emit_text(out, etcd->user);
        fputs(", password_file: ", out);
        emit_text(out, etcd->password_file.text);
    }
    fputs(" } }", out);
    etcd_url_fini(&url);
}

/* ---- any ---- */

/* As a URL that weir does not know, or one of ours without its second slash. */
static bool is_url(const char *text)
{
    struct span s = span_str(text);
    return strstr(text, "://") != NULL || span_starts(s, SPAN_LIT("kubernetes:/")) ||
           span_starts(s, SPAN_LIT("etcd:/")) || span_starts(s, SPAN_LIT("etcds:/"));
}

const char *sidecar_pool_flaw(const char *text)
{
    struct span s = span_str(text);
    if (etcd_url_is(text))
        return etcd_flaw(text);
    if (span_skip(&s, SPAN_LIT("kubernetes://")))
        return s.len > 0 && s.ptr[0] != '/' && s.ptr[s.len - 1] != '/'
                   ? NULL
                   : "expected kubernetes://[NAMESPACE/]SERVICE[:PORT], such as "
                     "kubernetes://shop/orders:http";
    if (span_skip(&s, SPAN_LIT("dns://")))
        return is_dns(s) ? NULL
                         : "expected a name and a port, such as dns://orders.shop.svc:8080, or "
                           "what has SRV records, such as dns://_http._tcp.orders.shop.svc";
    if (span_skip(&s, SPAN_LIT("file:")))
        return s.len > 0 ? NULL : "expected a file of endpoints, such as file:/run/orders.yaml";
    return !is_url(text)
               ? NULL
               : "expected ADDRESS[,ADDRESS]..., NAME:PORT, _SERVICE._PROTO.NAME, "
                 "kubernetes://[NAMESPACE/]SERVICE[:PORT], etcd://HOST:PORT/PREFIX/ or file:PATH";
}

void sidecar_pool_write(FILE *out, const char *text)
{
    struct span s = span_str(text);
    if (etcd_url_is(text)) {
        write_etcd(out, text);
    } else if (span_skip(&s, SPAN_LIT("kubernetes://"))) {
        write_kubernetes(out, s);
    } else if (span_skip(&s, SPAN_LIT("file:"))) {
        span_skip(&s, SPAN_LIT("//"));
        fputs("{ file: ", out);
        sidecar_emit(out, s);
        fputs(" }", out);
    } else if (is_dns(s)) {
        write_dns(out, s);
    } else {
        write_list(out, s);
    }
}
