/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of pools, and what of a pool has to fit together. Constant data; any thread. */
#include <arpa/inet.h>
#include <string.h>

#include "balancer/endpoint.h"
#include "config/bind.h"
#include "config/rows.h"

/* endpoints */

static bool accept_id(struct bind *b, const struct tree_node *node, const char **text)
{
    if (config_registration_id_ok(*text))
        return true;
    bind_error(b, node->pos, "%s is not an id", bind_quote(b, *text));
    return false;
}

/* Of an endpoint; then what one says besides that registers, and what only the state file has. */
static const struct schema_row endpoint_rows[] = {
    {ADDRESS("address", config_endpoint, address), .flags = ROW_REQUIRED,
     .doc = "Host and port, or unix:/path; a host name is resolved once, when loading."},
    {ADDRESS("also", config_endpoint, also),
     .doc =
         "Another address of the same server, of the other family, say: tried too when the first "
         "fails or is silent for 250 ms, or half of upstream.connect."},
    {INT("weight", config_endpoint, weight), .dflt = "1", .min = 0, .max = 1000,
     .doc = "Its share compared to the others; 0: no new requests."},
    {STRING("zone", config_endpoint, zone), .accept = grammar_name, .pattern = NAME_PATTERN,
     .expected = "a name",
     .doc = "Where it is; weir prefers those in its own zone while they can carry their share."},
    {INT("priority", config_endpoint, priority), .dflt = "0", .min = 0, .max = LB_LEVELS - 1,
     .doc = "Its level; a level gets what those before it cannot carry, with 1.4 times as much as "
            "is needed."},
    {BOOL("backup", config_endpoint, backup), .dflt = "false",
     .doc = "Whether it gets requests only when no other is usable."},
    {BOOL("drain", config_endpoint, drain), .dflt = "false",
     .doc = "Whether it gets no new requests."},
    {INT("max_requests", config_endpoint, max_requests), .dflt = "none", .min = 1, .max = 1000000,
     .word = "none", .word_value = 0,
     .doc = "Requests that it may have in flight at once; others get what is beyond that."},
    {INT("max_connections", config_endpoint, max_connections), .dflt = "none", .min = 1,
     .max = 1000000, .word = "none", .word_value = 0,
     .doc = "Connections to it that may be in use at once; idle ones do not count."},
    {ADDRESS("health", config_endpoint, health),
     .doc = "Where its health checks go, if not where requests go."},
    {DURATION("ttl", config_registration, ttl_ms), .dflt = "30s", .min = SECOND, .max = 24 * HOUR,
     .doc = "How long it is believed without registering again."},
    {STRING("id", config_registration, id), .flags = ROW_REQUIRED, .accept = accept_id,
     .expected = "an id", .doc = "What it is called in the registry."},
};

const struct schema_table schema_endpoint = {
    .expected = "an address, or a mapping such as { address: 10.0.0.1:80, weight: 2 }",
    .rows = endpoint_rows,
    .row_count = ARRAY_LEN(endpoint_rows) - 2,
    .short_key = "address",
    .own = true,
};

static const struct schema_table registration_table = {
    .expected = "an object such as {\"address\": \"10.0.0.1:80\", \"ttl\": \"30s\"}",
    .rows = endpoint_rows,
    .row_count = ARRAY_LEN(endpoint_rows) - 1,
    .own = true,
};

static const struct schema_table registered_table = {
    .expected = "a mapping such as { address: 10.0.0.1:80, id: app-1 }",
    ROWS(endpoint_rows),
    .own = true,
};

const struct schema_row schema_registration = {.shape = SHAPE_TABLE, .table = &registration_table};
const struct schema_row schema_registered = {.shape = SHAPE_TABLE, .table = &registered_table};

static const struct schema_row endpoint_elem = {.shape = SHAPE_TABLE, .table = &schema_endpoint};

const struct schema_items schema_endpoints = {
    .size = sizeof(struct config_endpoint),
    .elem = &endpoint_elem,
    .what = "one endpoint, such as 127.0.0.1:8080",
    .unique = "is listed twice; for a larger share, give it a weight",
    .unique_offset = FIELD(config_endpoint, address.text, const char *),
    .alike_is_warning = true,
};

/* upstream */

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

static const struct schema_choice protocols[] = {
    {.name = "auto", .value = CONFIG_PROTOCOL_AUTO},
    {.name = "h1", .value = CONFIG_PROTOCOL_H1},
    {.name = "h2", .value = CONFIG_PROTOCOL_H2},
    {0},
};

static const struct schema_choice proxy_headers[] = {
    {.name = "none", .value = CONFIG_PROXY_NONE},
    {.name = "v1", .value = CONFIG_PROXY_V1},
    {.name = "v2", .value = CONFIG_PROXY_V2},
    {0},
};

static const struct schema_row upstream_rows[] = {
    {DURATION("connect", config_pool, connect_ms), .dflt = "1s", .min = MS, .max = MAX_TIME,
     .doc = "For a connection to be made (else another endpoint, or 504)."},
    {DURATION("idle", config_pool, idle_ms), .dflt = "55s", .min = MS, .max = MAX_TIME,
     .doc = "How long an idle connection is kept; keep it below the endpoints' own timeout."},
    {INT("max_idle", config_pool, max_idle), .dflt = "256", .min = 0, .max = 65536,
     .doc = "Idle connections that each worker keeps to an endpoint; 0: none."},
    {DURATION("ping", config_pool, ping_ms), .dflt = "30s", .min = SECOND, .max = MAX_TIME,
     .word = "none", .word_value = 0,
     .doc = "How long a connection of HTTP/2 that has requests may be silent before a PING asks "
            "whether the endpoint is still there; none: it is never asked."},
    {SCALAR("protocol", config_pool, protocol, enum config_protocol, type_enum),
     .choices = protocols, .dflt = "auto",
     .doc = "h1, h2, or auto: with tls what the endpoint chooses by ALPN, else h1."},
    {.key = "tls",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_tls_client,
     .offset = FIELD(config_pool, tls, struct config_tls_client),
     .present_offset = FIELD(config_pool, tls.enabled, bool),
     .doc = "TLS to the endpoints; plain text if not given."},
    {SCALAR("proxy_protocol", config_pool, proxy_protocol, enum config_proxy_header, type_enum),
     .choices = proxy_headers, .dflt = "none",
     .doc = "Whether a connection begins with a header that says who the client is; if so, it "
            "serves one request."},
};

static const struct schema_table upstream_table = {.expected = "a mapping", ROWS(upstream_rows)};

static const struct schema_row pool_rows[] = {
    {.key = "endpoints",
     .shape = SHAPE_LIST,
     .items = &schema_endpoints,
     .offset = FIELD(config_pool, endpoints, struct config_endpoint *),
     .count_offset = FIELD(config_pool, endpoint_count, size_t),
     .min = 1,
     .doc = "The addresses that requests are spread over."},
    {.key = "dns",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_dns,
     .offset = FIELD(config_pool, dns, struct config_dns),
     .present_offset = FIELD(config_pool, dns.enabled, bool),
     .doc = "A name whose addresses are the endpoints, asked for again as they expire."},
    {.key = "etcd",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_etcd,
     .offset = FIELD(config_pool, etcd, struct config_etcd),
     .present_offset = FIELD(config_pool, etcd.enabled, bool),
     .doc = "Keys of etcd v3 that each have an endpoint, watched as they come and go."},
    {FILENAME("file", config_pool, file),
     .doc = "A file that lists the endpoints, in YAML or JSON, read again when it changes."},
    {.key = "kubernetes",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_kubernetes,
     .offset = FIELD(config_pool, kubernetes, struct config_kubernetes),
     .present_offset = FIELD(config_pool, kubernetes.enabled, bool),
     .doc = "A Service of Kubernetes whose EndpointSlices are watched."},
    {.key = "registry",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_pool_registry,
     .offset = FIELD(config_pool, registry, struct config_registry),
     .present_offset = FIELD(config_pool, registry.enabled, bool),
     .doc = "Endpoints register themselves at the admin listener: PUT /registry/POOL/ID."},
    {.key = "balance",
     .shape = SHAPE_TABLE,
     .table = &schema_balance,
     .offset = FIELD(config_pool, balance, struct config_balance),
     .doc = "How requests are spread over the endpoints."},
    {.key = "health",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_health,
     .offset = FIELD(config_pool, health, struct config_health),
     .present_offset = FIELD(config_pool, health.enabled, bool),
     .doc = "How the endpoints are checked; not at all if not given."},
    {.key = "sticky",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_sticky,
     .offset = FIELD(config_pool, sticky, struct config_sticky),
     .present_offset = FIELD(config_pool, sticky.enabled, bool),
     .doc = "A cookie that keeps a client's requests at one endpoint; none if not given."},
    {DURATION("slow_start", config_pool, slow_start_ms), .dflt = "none", .min = MS, .max = HOUR,
     .word = "none", .word_value = 0,
     .doc = "Over which an endpoint that comes, or comes back, gets its share."},
    {.key = "outlier",
     .shape = SHAPE_TABLE,
     .table = &schema_outlier,
     .offset = FIELD(config_pool, outlier, struct config_outlier),
     .doc = "Which endpoints get no requests for a while, because theirs fail or are slow."},
    {INT("max_requests", config_pool, max_requests), .dflt = "none", .min = 1, .max = 1000000,
     .word = "none", .word_value = 0,
     .doc = "Requests that may be in flight to the pool at once; what comes beyond that waits."},
    {INT("max_connections", config_pool, max_connections), .dflt = "none", .min = 1, .max = 1000000,
     .word = "none", .word_value = 0,
     .doc = "Connections to the endpoints that may be in use at once; idle ones do not count. With "
            "HTTP/1 only, where each serves one request at a time."},
    {.key = "limit",
     .shape = SHAPE_TABLE,
     .table = &schema_limit,
     .offset = FIELD(config_pool, limit, struct config_limit),
     .doc = "Whether weir finds out how many requests the pool can take at once."},
    {.key = "queue",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_queue,
     .offset = FIELD(config_pool, queue, struct config_queue),
     .present_offset = FIELD(config_pool, queue.enabled, bool),
     .doc = "How requests wait that are over a limit; only where there is one."},
    {.key = "retry_budget",
     .shape = SHAPE_TABLE,
     .table = &schema_retry_budget,
     .offset = FIELD(config_pool, retry_budget, struct config_retry_budget),
     .doc = "How many retries its endpoints get at most, so that a pool in trouble does not get "
            "more requests for being in trouble."},
    {SCALAR("hedge", config_pool, hedge, uint32_t, type_percent), .dflt = "none", .min = 50,
     .max = 99, .word = "none", .word_value = 0,
     .doc =
         "A GET, HEAD or OPTIONS that has waited longer for its answer than so many of the "
         "pool's latest is sent to a second endpoint, too, if the retry budget allows; whichever "
         "answers first is passed on, the other is cancelled."},
    {.key = "upstream",
     .shape = SHAPE_TABLE,
     .table = &upstream_table,
     .doc = "The connections to the endpoints."},
};

/* What its certificate has to be for, NULL: nothing can be; *ip: that is its address, which the
 * conn knows by itself. */
static const char *endpoint_host(const struct config_endpoint *e, bool *ip)
{
    uint8_t addr[16];
    if (e->address.host == NULL)
        return NULL;
    *ip = inet_pton(AF_INET, e->address.host, addr) == 1 ||
          inet_pton(AF_INET6, e->address.host, addr) == 1;
    return e->address.host;
}

/* Without sni, certificates are for the one host of all endpoints, or for their addresses. */
static void check_server_name(struct bind *b, const struct config_pool *pool)
{
    bool first_ip = false, ip = false;
    if (pool->dns.enabled && pool->dns.type == CONFIG_DNS_SRV)
        bind_error(b, pool->tls.pos,
                   "the hosts that %s leads to are not known beforehand; sni has to say what their "
                   "certificates are for",
                   bind_quote(b, pool->dns.name));
    if (config_pool_discovers(pool))
        return; /* the name's, or of addresses */
    const char *first = endpoint_host(&pool->endpoints[0], &first_ip);
    for (size_t i = 0; i < pool->endpoint_count; i++) {
        const struct config_endpoint *e = &pool->endpoints[i];
        const char *host = endpoint_host(e, &ip);
        if (host != NULL && ip == first_ip && (ip || strcmp(host, first) == 0))
            continue;
        bind_error(b, pool->tls.pos,
                   host == NULL
                       ? "the endpoint %s has no host name; sni has to say what its certificate "
                         "is for"
                       : "the endpoint %s has another host than the first; sni has to say what "
                         "the certificates are for",
                   bind_quote(b, e->address.text));
        return;
    }
}

/* Weir keeps so many apart, and one more for those without. */
void schema_check_zones(struct bind *b, const struct config_endpoint *endpoints, size_t count)
{
    const char *zones[LB_ZONES - 1];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct config_endpoint *e = &endpoints[i];
        size_t z = 0;
        while (e->zone != NULL && z < n && strcmp(zones[z], e->zone) != 0)
            z++;
        if (e->zone == NULL || z < n)
            continue;
        if (n == ARRAY_LEN(zones)) {
            bind_error(b, e->pos, "the endpoints of a pool are in %zu zones at most",
                       ARRAY_LEN(zones));
            return;
        }
        zones[n++] = e->zone;
    }
}

/* What its checks need of the endpoints. */
static void check_endpoints_health(struct bind *b, const struct config_pool *pool)
{
    for (size_t i = 0; i < pool->endpoint_count; i++) {
        const struct config_endpoint *e = &pool->endpoints[i];
        if (e->health.text != NULL && !pool->health.enabled)
            bind_error(b, e->health.pos,
                       "says where %s is checked, but the pool has no health: say how, such as "
                       "health: { http: /healthz }",
                       bind_quote(b, e->address.text));
        else if (pool->health.port != 0 && e->address.host == NULL && e->health.text == NULL)
            bind_error(b, e->pos,
                       "%s has no port that health.port could stand for; give it a health: "
                       "address of its own",
                       bind_quote(b, e->address.text));
    }
}

static void check_pool(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_pool *pool = obj;
    (void)node;
    schema_check_zones(b, pool->endpoints, pool->endpoint_count);
    schema_check_limits(b, obj);
    check_endpoints_health(b, pool);
    if (pool->health.grpc.enabled && pool->proxy_protocol != CONFIG_PROXY_NONE)
        bind_error(b, pool->health.grpc.pos,
                   "gRPC is HTTP/2, which upstream.proxy_protocol cannot be used with; check with "
                   "http or tcp");
    if (pool->tls.enabled && pool->tls.verify && pool->tls.sni == NULL)
        check_server_name(b, pool);
    if (pool->proxy_protocol != CONFIG_PROXY_NONE && pool->protocol == CONFIG_PROTOCOL_H2)
        bind_error(b, pool->pos,
                   "upstream.proxy_protocol needs a connection for each client, so it cannot be "
                   "used with protocol: h2");
}

static const char *const pool_sources[] = {"endpoints",  "dns",      "etcd", "file",
                                           "kubernetes", "registry", NULL};

static const struct schema_table pool_table = {
    .expected = "a list of endpoints, or a mapping",
    ROWS(pool_rows),
    .short_key = "endpoints",
    .one_of = pool_sources,
    .own = true,
    .check = check_pool,
};

static const struct schema_row pool_name = {
    STRING(NULL, config_pool, name),
    .accept = grammar_name,
    .pattern = NAME_PATTERN,
    .expected = "a name",
};

static const struct schema_row pool_elem = {.shape = SHAPE_TABLE, .table = &pool_table};

const struct schema_items schema_pools = {
    .size = sizeof(struct config_pool),
    .name = &pool_name,
    .elem = &pool_elem,
    .what = "one pool, such as app: [127.0.0.1:8080]",
};
