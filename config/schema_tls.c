/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows below `tls`, of a listener and of a pool, and what of a pool has to fit together. Looks
 * at no file: whether certificates are any good is known to runtime.c. Constant data; any thread.
 */
#include <arpa/inet.h>
#include <string.h>

#include "config/bind.h"
#include "config/mem.h"
#include "config/rows.h"

#define FILENAME(key, tag, field) SCALAR(key, tag, field, struct config_str, type_file)

/* listeners */

static const struct schema_row cert_elem = {
    .shape = SHAPE_SCALAR,
    .type = &type_file,
    .expected = "the path of a certificate, or of a directory of them",
};

static const struct schema_items cert_items = {
    .size = sizeof(struct config_str),
    .elem = &cert_elem,
    .what = "one file or directory",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_str, text, const char *),
};

static const struct schema_choice client_auths[] = {
    {.name = "required", .value = CONFIG_CLIENT_REQUIRED},
    {.name = "optional", .value = CONFIG_CLIENT_OPTIONAL},
    {0},
};

static const struct schema_choice tls_versions[] = {
    {.name = "1.2", .value = CONFIG_TLS_1_2},
    {.name = "1.3", .value = CONFIG_TLS_1_3},
    {0},
};

static const struct schema_choice alpn_names[] = {{.name = "h2"}, {.name = "http/1.1"}, {0}};

static const struct schema_row alpn_elem = {
    CHOICE(NULL, config_str, text),
    .choices = alpn_names,
};

static const struct schema_items alpn_items = {
    .size = sizeof(struct config_str),
    .elem = &alpn_elem,
    .what = "one protocol; without the key, all are offered",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_str, text, const char *),
};

static bool has_client_ca(const void *obj)
{
    return ((const struct config_tls_server *)obj)->client_ca.text != NULL;
}

static const struct schema_row tls_server_rows[] = {
    {.key = "certs",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE | ROW_REQUIRED,
     .items = &cert_items,
     .min = 1,
     .offset = FIELD(config_tls_server, certs, struct config_str *),
     .count_offset = FIELD(config_tls_server, cert_count, size_t),
     .doc = "Certificates with their chains (PEM): files, whose keys are beside them as NAME.key, "
            "or directories of those. The name that a client asks for picks one, else the first."},
    {FILENAME("client_ca", config_tls_server, client_ca),
     .doc = "Authorities (PEM) that vouch for clients' certificates; nobody is asked for one if "
            "not given."},
    {SCALAR("client_auth", config_tls_server, client_auth, enum config_client_auth, type_enum),
     .choices = client_auths, .dflt = "required", .applies = has_client_ca,
     .applies_to = "a listener with client_ca",
     .doc = "Whether a client has to have a certificate: required or optional."},
    {SCALAR("min_version", config_tls_server, min_version, enum config_tls_version, type_enum),
     .choices = tls_versions, .dflt = "1.2", .doc = "The oldest version of TLS: 1.2 or 1.3."},
    {FILENAME("ocsp", config_tls_server, ocsp),
     .doc = "An OCSP response (DER) to staple; watched like the certificates."},
    {FILENAME("keylog", config_tls_server, keylog),
     .doc = "A file that the keys of all connections are written to, for debugging only."},
    {.key = "alpn",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &alpn_items,
     .min = 1,
     .offset = FIELD(config_tls_server, alpn, struct config_str *),
     .count_offset = FIELD(config_tls_server, alpn_count, size_t),
     .doc = "The protocols that are offered: h2 and http/1.1 if not given."},
};

static void check_tls_server(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_tls_server *tls = obj;
    (void)node;
    if (tls->keylog.text != NULL)
        bind_warn(b, tls->keylog.pos,
                  "whoever can read %s can read all that is sent on this listener",
                  bind_quote(b, tls->keylog.text));
}

const struct schema_table schema_tls_server = {
    .expected = "a mapping such as { certs: /etc/weir/certs/ }, or files or directories alone",
    ROWS(tls_server_rows),
    .short_key = "certs",
    .own = true,
    .check = check_tls_server,
};

/* pools */

static bool accept_sni(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t len = strlen(*text);
    if (grammar_host_ok(*text, len) && !grammar_host_is_numeric(*text, len))
        return true;
    bind_error(b, node->pos, "%s is not a host name", bind_quote(b, *text));
    return false;
}

static const struct schema_row tls_client_rows[] = {
    {BOOL("enabled", config_tls_client, enabled), .dflt = "true", .doc = "Whether TLS is spoken."},
    {STRING("sni", config_tls_client, sni), .accept = accept_sni,
     .expected = "a host name such as app.internal", .pattern = "^[A-Za-z0-9_.-]+$",
     .doc = "The name that the endpoints' certificates have to be for, and that is asked for; the "
            "host of the endpoints if not given."},
    {FILENAME("ca", config_tls_client, ca),
     .doc = "Authorities (PEM) that vouch for the endpoints; the system's if not given."},
    {BOOL("verify", config_tls_client, verify), .dflt = "true",
     .doc = "Whether the endpoints' certificates are verified."},
    {FILENAME("cert", config_tls_client, cert),
     .doc = "The certificate that is shown to endpoints that ask for one (PEM, with its chain)."},
    {FILENAME("key", config_tls_client, key), .doc = "The key of cert (PEM)."},
};

static void check_tls_client(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_tls_client *tls = obj;
    if ((tls->cert.text == NULL) != (tls->key.text == NULL))
        bind_error(b, tls->cert.text ? tls->cert.pos : tls->key.pos,
                   "a client certificate is two files: the key \"%s\" is missing",
                   tls->cert.text ? "key" : "cert");
    if (!tls->verify && tls->enabled)
        bind_warn(b, bind_pos_of(node, "verify", tls->pos),
                  "whoever can reach the connection can pose as an endpoint");
    if (!tls->verify && tls->ca.text != NULL)
        bind_warn(b, tls->ca.pos, "of no use while verify is false");
}

const struct schema_table schema_tls_client = {
    .expected = "true, or a mapping such as { sni: app.internal, ca: /etc/weir/ca.pem }",
    ROWS(tls_client_rows),
    .short_key = "enabled",
    .own = true,
    .check = check_tls_client,
};

static const char *endpoint_host(const struct config_endpoint *e)
{
    return e->address.host != NULL ? e->address.host : "";
}

/* The certificate of each endpoint has to be for one name, which has to be known. */
static void check_server_name(struct bind *b, const struct config_pool *pool)
{
    const char *first = endpoint_host(&pool->endpoints[0]);
    for (size_t i = 0; i < pool->endpoint_count; i++) {
        const struct config_endpoint *e = &pool->endpoints[i];
        if (*endpoint_host(e) != '\0' && strcmp(endpoint_host(e), first) == 0)
            continue;
        bind_error(b, pool->tls.pos,
                   *endpoint_host(e) == '\0'
                       ? "the endpoint %s has no host name; sni has to say what its certificate "
                         "is for"
                       : "the endpoint %s has another host than the first; sni has to say what "
                         "the certificates are for",
                   bind_quote(b, e->address.text));
        return;
    }
}

void schema_check_pool(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_pool *pool = obj;
    (void)node;
    if (pool->tls.enabled && pool->tls.verify && pool->tls.sni == NULL)
        check_server_name(b, pool);
    if (pool->proxy_protocol != CONFIG_PROXY_NONE && pool->protocol == CONFIG_PROTOCOL_H2)
        bind_error(b, pool->pos,
                   "upstream.proxy_protocol needs a connection for each client, so it cannot be "
                   "used with protocol: h2");
}
