/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the admin listener. Looks at no file: what is in the token's is known to
 * runtime_admin.c. Constant data; any thread.
 */
#include <arpa/inet.h>
#include <string.h>

#include "config/bind.h"
#include "config/rows.h"

static const struct schema_choice remotes[] = {
    {.name = "token", .value = CONFIG_REMOTE_TOKEN},
    {.name = "probes", .value = CONFIG_REMOTE_PROBES},
    {0},
};

static const struct schema_row admin_rows[] = {
    {ADDRESS("listen", config_admin, listen), .flags = ROW_LISTEN | ROW_LOOPBACK | ROW_RESTART,
     .dflt = "127.0.0.1:9900", .expected = "an address such as 127.0.0.1:9900",
     .doc = "Where the dashboard, its API, /metrics, /livez and /readyz are served; without a "
            "host, on the loopback."},
    {FILENAME("token_file", config_admin, token_file), .flags = ROW_RESTART,
     .doc = "A file with the token that every request needs, but for /livez and /readyz: as "
            "Authorization: Bearer TOKEN, or as the password that a browser asks for."},
    {.key = "tls",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH | ROW_RESTART,
     .table = &schema_admin_tls,
     .offset = FIELD(config_admin, tls, struct config_tls_server),
     .present_offset = FIELD(config_admin, tls.enabled, bool),
     .doc =
         "TLS; plain text if not given. With client_ca a certificate is as good as the token, and "
         "needed if there is no token_file; with client_auth: optional /livez and /readyz need "
         "none."},
    {SCALAR("remote", config_admin, remote, enum config_remote, type_enum), .choices = remotes,
     .flags = ROW_RESTART, .dflt = "token",
     .doc = "What clients on other machines may do: token, what those do who have it; or probes, "
            "to ask for /livez, /readyz and /metrics without one, and for nothing else."},
};

static bool is_loopback(const struct config_addr *addr)
{
    struct in6_addr v6;
    if (addr->kind == CONFIG_ADDR_UNIX || strncmp(addr->host, "127.", 4) == 0)
        return true;
    return inet_pton(AF_INET6, addr->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Who can reach it can drain endpoints and reload. */
static void check_admin(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_admin *admin = obj;
    if (admin->listen.text == NULL || is_loopback(&admin->listen) ||
        admin->token_file.text != NULL || admin->tls.client_ca.text != NULL ||
        admin->remote == CONFIG_REMOTE_PROBES)
        return;
    bind_error(b, bind_pos_of(node, "listen", admin->pos),
               "whoever reaches %s could drain endpoints and reload: give a token_file, or "
               "tls with a client_ca, or with \"remote: probes\" no more than /livez, /readyz and "
               "/metrics",
               admin->listen.text);
}

const struct schema_table schema_admin = {
    .expected = "a mapping, such as { listen: 127.0.0.1:9900 }, or {} for the default",
    ROWS(admin_rows),
    .own = true,
    .check = check_admin,
};
