/* SPDX-License-Identifier: Apache-2.0 */
/* Handshakes and certificates. Writes no counter. Control thread. */
#include "proxy/admin_tls.h"
#include "proxy/metrics/families.h"

enum cert_number { CERT_RELOADS, CERT_ERRORS, CERT_FAILED };

static void cert_lines(struct text *t, const struct admin_view *v, const char *name,
                       const char *type, const char *help, enum cert_number which)
{
    char user[512];
    struct cert_status status;
    text_head(t, name, type, help);
    for (size_t i = 0; i < admin_certs_count(v); i++) {
        if (!admin_certs_at(v, i, &status))
            continue;
        uint64_t n = which == CERT_RELOADS  ? status.reloads
                     : which == CERT_ERRORS ? status.errors
                                            : status.failed;
        text_line(t, "%s{%s=\"%s\"} %" PRIu64 "\n", name, status.source->kind,
                  text_label(span_str(status.source->name), user), n);
    }
}

/* By file: what names are in a certificate is for the log of whoever reads it. */
static void cert_expiry(struct text *t, const struct admin_view *v)
{
    char user[512], file[512];
    struct cert_status status;
    text_head(t, "weir_tls_cert_expiry_seconds", "gauge",
              "When a certificate in use expires, in Unix time.");
    for (size_t i = 0; i < admin_certs_count(v); i++) {
        if (!admin_certs_at(v, i, &status) || status.certs == NULL)
            continue;
        text_label(span_str(status.source->name), user);
        for (size_t k = 0; k < tls_certs_count(status.certs); k++) {
            const struct tls_cert_info *cert = tls_certs_at(status.certs, k);
            text_line(t, "weir_tls_cert_expiry_seconds{%s=\"%s\",file=\"%s\"} %" PRId64 "\n",
                      status.source->kind, user, text_label(span_str(cert->cert_file), file),
                      cert->not_after);
        }
    }
}

static void handshakes(struct text *t, const struct admin_view *v)
{
    text_head(t, "weir_tls_handshakes_total", "counter", "TLS handshakes with clients, by result.");
    for (unsigned version = 0; version < 2; version++)
        for (unsigned resumed = 0; resumed < 2; resumed++)
            text_line(t, "weir_tls_handshakes_total{result=\"%s\",version=\"1.%u\"} %" PRIu64 "\n",
                      resumed ? "resumed" : "full", version + 2,
                      SUM(v, tls.done[version][resumed]));
    text_line(t, "weir_tls_handshakes_total{result=\"failed\",version=\"\"} %" PRIu64 "\n",
              SUM(v, tls.failed));
}

void metrics_tls(struct text *t, const struct admin_view *v)
{
    if (!cert_watch_any(v->certs) && v->own_tls == NULL)
        return;
    handshakes(t, v);
    cert_expiry(t, v);
    cert_lines(t, v, "weir_tls_cert_reloads_total", "counter",
               "Times that changed certificates were put to use.", CERT_RELOADS);
    cert_lines(t, v, "weir_tls_cert_reload_errors_total", "counter",
               "Times that changed certificates were not, because something is wrong with them.",
               CERT_ERRORS);
    cert_lines(t, v, "weir_tls_cert_reload_failed", "gauge",
               "Whether the last change of certificates was not put to use.", CERT_FAILED);
}
