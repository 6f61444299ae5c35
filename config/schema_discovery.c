/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of where a pool's endpoints come from, but for registrations, which have those of an
 * endpoint (schema_pool.c). Constant data; any thread. */
#include <arpa/inet.h>
#include <string.h>

#include "config/bind.h"
#include "config/rows.h"

#define DNS_NAME_MAX 253

/* Letters, digits, - and _ in labels of 63 bytes at most; a dot at the end keeps the resolver from
 * trying its search domains. */
static bool is_dns_name(const char *text)
{
    size_t len = strlen(text), label = 0;
    if (len > 0 && text[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_';
        if (!word && (c != '.' || label == 0))
            return false;
        label = word ? label + 1 : 0;
        if (label > 63)
            return false;
    }
    return len <= DNS_NAME_MAX && label > 0;
}

static bool accept_dns_name(struct bind *b, const struct tree_node *node, const char **text)
{
    if (is_dns_name(*text) && !grammar_host_is_numeric(*text, strlen(*text)))
        return true;
    bind_error(b, node->pos,
               "%s is not a DNS name, such as app.internal or _http._tcp.app.internal; its port is "
               "a key of its own",
               bind_quote(b, *text));
    return false;
}

static bool has_port(const void *obj)
{
    return ((const struct config_dns *)obj)->type != CONFIG_DNS_SRV;
}

static const struct schema_choice dns_types[] = {
    {.name = "auto", .value = CONFIG_DNS_AUTO},
    {.name = "a", .value = CONFIG_DNS_A},
    {.name = "aaaa", .value = CONFIG_DNS_AAAA},
    {.name = "srv", .value = CONFIG_DNS_SRV},
    {0},
};

static const struct schema_row dns_rows[] = {
    {STRING("name", config_dns, name), .flags = ROW_REQUIRED, .accept = accept_dns_name,
     .pattern = "^[A-Za-z0-9._-]{1,254}$", .expected = "a DNS name such as app.internal",
     .doc = "The name to ask for; the resolver's search domains are tried unless it ends in a "
            "dot."},
    {SCALAR("type", config_dns, type, enum config_dns_type, type_enum), .choices = dns_types,
     .dflt = "auto",
     .doc = "a, aaaa, srv, which says ports, weights and priorities too, or auto: a, and aaaa if "
            "there are none."},
    {INT("port", config_dns, port), .applies = has_port, .applies_to = "types other than srv",
     .min = 1, .max = 65535, .doc = "Where the endpoints listen; required but with srv."},
    {ADDRESS("server", config_dns, server),
     .doc = "The DNS server to ask, by its address; those of /etc/resolv.conf if not given."},
    {DURATION("min_ttl", config_dns, min_ttl_ms), .dflt = "1s", .min = 100 * MS, .max = HOUR,
     .doc = "How soon it is asked again at the earliest, whatever the answer allows."},
    {DURATION("max_ttl", config_dns, max_ttl_ms), .dflt = "5m", .min = 100 * MS, .max = 24 * HOUR,
     .doc = "How soon it is asked again at the latest, whatever the answer allows."},
};

static void check_dns(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_dns *dns = obj;
    struct in6_addr addr;
    if (dns->type != CONFIG_DNS_SRV && dns->port == 0)
        bind_error(b, dns->pos,
                   "the key \"port\" is missing: addresses of %s come without one; only type: srv "
                   "has it",
                   bind_quote(b, dns->name));
    if (dns->max_ttl_ms < dns->min_ttl_ms)
        bind_error(b, bind_pos_of(node, "max_ttl", dns->pos), "max_ttl is less than min_ttl");
    if (dns->server.text != NULL &&
        (dns->server.host == NULL || (inet_pton(AF_INET, dns->server.host, &addr) != 1 &&
                                      inet_pton(AF_INET6, dns->server.host, &addr) != 1)))
        bind_error(b, dns->server.pos,
                   "a DNS server is named by its IP address and port, such as 10.0.0.53:53");
}

const struct schema_table schema_dns = {
    .expected = "a mapping such as { name: app.internal, port: 8080 }",
    ROWS(dns_rows),
    .own = true,
    .check = check_dns,
};

/* etcd */

static const struct schema_row etcd_server = {.shape = SHAPE_SCALAR, .type = &type_address};

static const struct schema_items etcd_servers = {
    .size = sizeof(struct config_addr),
    .elem = &etcd_server,
    .what = "one server, such as 127.0.0.1:2379",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_addr, text, const char *),
};

static bool accept_prefix(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t len = strlen(*text);
    if (len == 0 || len > CONFIG_ETCD_KEY_MAX) {
        bind_error(b, node->pos, "a prefix has 1 to %d bytes", CONFIG_ETCD_KEY_MAX);
        return false;
    }
    if ((*text)[len - 1] != '/')
        bind_warn(b, node->pos,
                  "%s is the beginning of more keys than those below it; end it with a slash",
                  bind_quote(b, *text));
    return true;
}

static bool has_user(const void *obj)
{
    return ((const struct config_etcd *)obj)->user != NULL;
}

static const struct schema_row etcd_rows[] = {
    {.key = "servers",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE | ROW_REQUIRED,
     .items = &etcd_servers,
     .min = 1,
     .max = CONFIG_ETCD_SERVERS_MAX,
     .offset = FIELD(config_etcd, servers, struct config_addr *),
     .count_offset = FIELD(config_etcd, server_count, size_t),
     .doc = "The members of the cluster, where clients ask; the next is asked when one fails."},
    {STRING("prefix", config_etcd, prefix), .flags = ROW_REQUIRED, .accept = accept_prefix,
     .pattern = "^.", .expected = "a prefix such as /services/app/",
     .doc = "What the keys begin with. The value of each is an endpoint: an address, or JSON or "
            "YAML as in a list of them."},
    {.key = "tls",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_tls_client,
     .offset = FIELD(config_etcd, tls, struct config_tls_client),
     .present_offset = FIELD(config_etcd, tls.enabled, bool),
     .doc = "TLS to the servers; plain text if not given."},
    {STRING("user", config_etcd, user), .pattern = "^.", .expected = "a user's name",
     .doc = "Whom weir is for etcd, if that asks; needs password_file."},
    {FILENAME("password_file", config_etcd, password_file), .applies = has_user,
     .applies_to = "a user", .doc = "A file with the user's password."},
    {DURATION("silence", config_etcd, silence_ms), .dflt = "30s", .min = SECOND, .max = HOUR,
     .doc =
         "How long a watch may say nothing before it is begun anew, where it stood; after some ten "
         "times that all keys are listed anew, whatever it says."},
};

static void check_etcd(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_etcd *etcd = obj;
    (void)node;
    for (size_t i = 0; i < etcd->server_count; i++)
        if (etcd->servers[i].host == NULL)
            bind_error(b, etcd->servers[i].pos,
                       "etcd has a host and a port, such as 127.0.0.1:2379");
    if (etcd->user != NULL && etcd->password_file.text == NULL)
        bind_error(b, etcd->pos, "the key \"password_file\" is missing: user needs it");
}

const struct schema_table schema_etcd = {
    .expected = "a mapping such as { servers: 127.0.0.1:2379, prefix: /services/app/ }",
    ROWS(etcd_rows),
    .own = true,
    .check = check_etcd,
};

/* registry */

static const struct schema_row pool_registry_rows[] = {
    {INT("max", config_registry, max), .dflt = "1000", .min = 1, .max = 10000,
     .doc = "How many may be registered at once; one more is refused."},
};

const struct schema_table schema_pool_registry = {
    .expected = "a mapping such as { max: 100 }, or {} for the default",
    ROWS(pool_registry_rows),
    .own = true,
};

static const struct schema_row registry_rows[] = {
    {FILENAME("state", config, registry_state), .flags = ROW_RESTART,
     .doc = "The file that keeps who is registered while weir is restarted or upgraded."},
    {FILENAME("token_file", config, registry_token_file), .flags = ROW_RESTART,
     .doc = "A file with a token that is good for /registry alone, which then needs it, or the "
            "admin listener's: as Authorization: Bearer TOKEN. With it, backends on other machines "
            "may register also where admin.remote is probes."},
};

const struct schema_table schema_registry = {
    .expected = "a mapping such as { state: /var/lib/weir/registry.yaml }",
    ROWS(registry_rows),
};
