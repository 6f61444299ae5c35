/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of listeners. Looks at no file: whether certificates are any good is known to
 * runtime.c. Constant data; any thread.
 */
#include "config/bind.h"
#include "config/rows.h"

/* tls */

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

/* Also of the admin listener's. */
#define TLS_SERVER_ROWS                                                                            \
    {.key = "certs",                                                                               \
     .shape = SHAPE_LIST,                                                                          \
     .flags = ROW_SINGLE | ROW_REQUIRED,                                                           \
     .items = &cert_items,                                                                         \
     .min = 1,                                                                                     \
     .offset = FIELD(config_tls_server, certs, struct config_str *),                               \
     .count_offset = FIELD(config_tls_server, cert_count, size_t),                                 \
     .doc =                                                                                        \
         "Certificates with their chains (PEM): files, whose keys are beside them as NAME.key, "   \
         "or directories of those. The name that a client asks for picks one, else the first."},   \
        {FILENAME("client_ca", config_tls_server, client_ca),                                      \
         .doc =                                                                                    \
             "Authorities (PEM) that vouch for clients' certificates; nobody is asked for one if " \
             "not given."},                                                                        \
        {SCALAR("client_auth", config_tls_server, client_auth, enum config_client_auth,            \
                type_enum),                                                                        \
         .choices = client_auths,                                                                  \
         .dflt = "required",                                                                       \
         .applies = has_client_ca,                                                                 \
         .applies_to = "a listener with client_ca",                                                \
         .doc = "Whether a client has to have a certificate: required or optional."},              \
    {                                                                                              \
        SCALAR("min_version", config_tls_server, min_version, enum config_tls_version, type_enum), \
            .choices = tls_versions, .dflt = "1.2",                                                \
            .doc = "The oldest version of TLS: 1.2 or 1.3."                                        \
    }

static const struct schema_row tls_server_rows[] = {
    TLS_SERVER_ROWS,
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
     .doc = "The protocols that are offered, h2 and http/1.1 if not given; what is left out is "
            "not spoken."},
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

static const struct schema_table tls_server_table = {
    .expected = "a mapping such as { certs: /etc/weir/certs/ }, or files or directories alone",
    ROWS(tls_server_rows),
    .short_key = "certs",
    .own = true,
    .check = check_tls_server,
};

static const struct schema_row admin_tls_rows[] = {TLS_SERVER_ROWS};

const struct schema_table schema_admin_tls = {
    .expected = "a mapping such as { certs: /etc/weir/admin.pem, client_ca: /etc/weir/ops.pem }",
    ROWS(admin_tls_rows),
    .short_key = "certs",
    .own = true,
};

/* listeners */

/* The item itself is the field. */
static const struct schema_row network_elem = {.shape = SHAPE_SCALAR, .type = &type_cidr};

static const struct schema_items network_items = {
    .size = sizeof(struct config_cidr),
    .elem = &network_elem,
    .what = "one network",
};

static const struct schema_row proxy_protocol_rows[] = {
    {.key = "from",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE | ROW_REQUIRED,
     .items = &network_items,
     .min = 1,
     .offset = FIELD(config_proxy_protocol, from, struct config_cidr *),
     .count_offset = FIELD(config_proxy_protocol, from_count, size_t),
     .doc = "Peers that have to begin with the header; others are served without one."},
};

static const struct schema_table proxy_protocol_table = {
    .expected = "a mapping such as { from: [10.0.0.0/8] }, or networks alone",
    ROWS(proxy_protocol_rows),
    .short_key = "from",
    .own = true,
};

static const struct schema_row redirect_https_rows[] = {
    {BOOL("enabled", config_redirect_https, enabled), .dflt = "true",
     .doc = "Whether requests are redirected."},
    {INT("port", config_redirect_https, port), .dflt = "443", .min = 1, .max = 65535,
     .doc = "The port that clients reach TLS at."},
};

static const struct schema_table redirect_https_table = {
    .expected = "true, or a mapping such as { port: 8443 }",
    ROWS(redirect_https_rows),
    .short_key = "enabled",
    .own = true,
};

static bool is_unix_listener(const void *obj)
{
    return ((const struct config_listener *)obj)->bind.kind == CONFIG_ADDR_UNIX;
}

static const struct schema_row listener_rows[] = {
    {ADDRESS("bind", config_listener, bind), .flags = ROW_REQUIRED | ROW_LISTEN,
     .expected = "an address such as \":8000\", 127.0.0.1:8000 or \"unix:/run/weir.sock\"",
     .doc = "The address to listen on; \":8000\" is every address, IPv6 too."},
    {SCALAR("mode", config_listener, mode, uint32_t, type_mode), .dflt = "0660",
     .applies = is_unix_listener, .applies_to = "a listener on a unix: socket",
     .doc = "The permissions of a unix: socket, octal and in quotes."},
    {.key = "trusted_proxies",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &network_items,
     .offset = FIELD(config_listener, trusted, struct config_cidr *),
     .count_offset = FIELD(config_listener, trusted_count, size_t),
     .doc = "Peers whose X-Forwarded-* and Forwarded fields are believed; unix: those of a unix: "
            "socket."},
    {BOOL("forwarded", config_listener, forwarded), .dflt = "false",
     .doc = "Whether Forwarded (RFC 7239) is sent to endpoints too."},
    {BOOL("via", config_listener, via), .dflt = "false", .doc = "Whether Via is sent."},
    {.key = "tls",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &tls_server_table,
     .offset = FIELD(config_listener, tls, struct config_tls_server),
     .present_offset = FIELD(config_listener, tls.enabled, bool),
     .doc = "TLS; plain text if not given."},
    {.key = "redirect_https",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &redirect_https_table,
     .offset = FIELD(config_listener, redirect_https, struct config_redirect_https),
     .present_offset = FIELD(config_listener, redirect_https.enabled, bool),
     .doc = "Every request is answered with a redirect to https; none is if not given."},
    {.key = "proxy_protocol",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &proxy_protocol_table,
     .offset = FIELD(config_listener, proxy_protocol, struct config_proxy_protocol),
     .present_offset = FIELD(config_listener, proxy_protocol.enabled, bool),
     .doc = "Connections that begin with a header of the PROXY protocol, v1 or v2, which says "
            "who the client is; none if not given."},
};

/* Networks that no peer of the listener can be in. */
static void warn_nobody(struct bind *b, const struct config_listener *l,
                        const struct config_cidr *networks, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if ((networks[i].kind == CONFIG_CIDR_UNIX) != is_unix_listener(l))
            bind_warn(b, networks[i].pos, "%s %s, where no peer of %s comes from", what,
                      bind_quote(b, networks[i].text), bind_quote(b, l->bind.text));
}

static void check_listener(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_listener *l = obj;
    const struct config_proxy_protocol *proxy = &l->proxy_protocol;
    warn_nobody(b, l, l->trusted, l->trusted_count, "trusts");
    warn_nobody(b, l, proxy->from, proxy->from_count, "expects a PROXY header from");
    if (l->redirect_https.enabled && l->tls.enabled)
        bind_error(b, bind_pos_of(node, "redirect_https", l->pos),
                   "redirect_https would redirect to itself: it is for a listener without tls");
}

static const struct schema_table listener_table = {
    .expected = "a mapping, or an address alone",
    ROWS(listener_rows),
    .short_key = "bind",
    .own = true,
    .check = check_listener,
};

static const struct schema_row listener_name = {
    STRING(NULL, config_listener, name),
    .accept = grammar_name,
    .pattern = NAME_PATTERN,
    .expected = "a name",
};

static const struct schema_row listener_elem = {.shape = SHAPE_TABLE, .table = &listener_table};

const struct schema_items schema_listeners = {
    .size = sizeof(struct config_listener),
    .name = &listener_name,
    .elem = &listener_elem,
    .what = "one listener, such as web: \":8000\"",
};
