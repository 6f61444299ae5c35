/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bound configuration: plain structs, every default filled in, every name resolved to an index
 * but host names, which stay as text. Owns the API that loads, checks, prints and frees it.
 * Reads files and the environment, and nothing else: no sockets, no name resolution, no globals.
 *
 * A struct config is never changed after it was loaded, so any thread may read it; loading, dumping
 * and freeing happen on the control thread. Running out of memory while loading aborts (check.h).
 */
#ifndef WEIR_CONFIG_CONFIG_H
#define WEIR_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * "No limit": the value of a timeout (milliseconds) or a size (bytes) that the file calls `none`.
 * It is the largest value there is, so that `used > limit` needs no special case.
 */
#define CONFIG_NONE UINT64_MAX

/* A larger file, and one that nests deeper or says more after expanding its aliases, is an error.
 */
#define CONFIG_MAX_BYTES ((size_t)16 << 20)
#define CONFIG_MAX_DEPTH 32
#define CONFIG_MAX_NODES ((size_t)1 << 20)

struct config_mem;

/* Where something was written. What comes from a default has the position of the mapping it is in.
 */
struct config_pos {
    const char *file; /* as given to config_load_*; NULL: nowhere */
    uint32_t line;    /* from 1 */
    uint32_t column;  /* in characters, from 1 */
};

/* Every struct below that has a position begins with it. */
struct config_str {
    struct config_pos pos;
    const char *text;
};

enum config_addr_kind {
    CONFIG_ADDR_TCP,
    CONFIG_ADDR_UNIX,
};

struct config_addr {
    struct config_pos pos;
    const char *text; /* as written, such as "[::1]:80", ":8000", "unix:/run/weir.sock" */
    enum config_addr_kind kind;
    const char *host; /* tcp: without brackets; "" in a listener: every address. unix: NULL */
    const char *path; /* unix: absolute, fits sockaddr_un. tcp: NULL */
    uint16_t port;    /* tcp: 0 (listeners only) lets the kernel choose. unix: 0 */
};

enum config_cidr_kind {
    CONFIG_CIDR_V4,
    CONFIG_CIDR_V6,
    CONFIG_CIDR_UNIX, /* the peers of a unix listener */
};

/* A network of peers; a single address has all its bits fixed. */
struct config_cidr {
    struct config_pos pos;
    const char *text;
    enum config_cidr_kind kind;
    uint8_t addr[16]; /* network byte order; v4 uses the first 4; no bit set after `bits` */
    uint8_t bits;     /* v4: 0..32, v6: 0..128, unix: 0 */
};

enum config_client_auth {
    CONFIG_CLIENT_REQUIRED, /* a handshake without a certificate that client_ca vouches for fails */
    CONFIG_CLIENT_OPTIONAL, /* one that it does not vouch for fails */
};

enum config_tls_version {
    CONFIG_TLS_1_2,
    CONFIG_TLS_1_3,
};

/* What is said about files here is about their names only: what is in them is runtime.c's part. */
struct config_tls_server {
    struct config_pos pos;
    bool enabled;             /* false: plain text, and the rest is unset */
    struct config_str *certs; /* files or directories, at least one; the first is the default */
    size_t cert_count;
    struct config_str client_ca; /* text NULL: clients are not asked for certificates */
    enum config_client_auth client_auth;
    enum config_tls_version min_version;
    struct config_str ocsp;   /* a response to staple; text NULL: none */
    struct config_str keylog; /* where to write the secrets of every conn; text NULL: nowhere */
    struct config_str *alpn;  /* "h2", "http/1.1" */
    size_t alpn_count;        /* 0: both */
};

struct config_tls_client {
    struct config_pos pos;
    bool enabled;         /* false: plain text, and the rest is unset */
    const char *sni;      /* asked for, and verified; NULL: the host of the endpoints */
    struct config_str ca; /* text NULL: the system's */
    bool verify;
    struct config_str cert, key; /* both or neither */
};

struct config_listener {
    struct config_pos pos;
    const char *name;
    struct config_addr bind;     /* host: an IP address or "" */
    uint32_t mode;               /* unix: the permission bits of the socket, 0..0777 */
    struct config_cidr *trusted; /* peers whose X-Forwarded-* and Forwarded are believed */
    size_t trusted_count;
    bool forwarded; /* also emit Forwarded (RFC 7239) */
    bool via;       /* emit Via (RFC 9110 section 7.6.3) */
    struct config_tls_server tls;
    struct config_redirect_https {
        struct config_pos pos;
        bool enabled;  /* every request is answered 308 to https://; never with tls */
        uint32_t port; /* 1..65535, of https:// */
    } redirect_https;
    struct config_proxy_protocol {
        struct config_pos pos;
        bool enabled;
        struct config_cidr *from; /* peers that begin with a header, each conn; at least one */
        size_t from_count;
    } proxy_protocol;
};

struct config_path_match {
    struct config_pos pos;
    const char *exact; /* this path only; or NULL */
    const char
        *prefix; /* this path and what is below, by element; or NULL. Both NULL: every path */
};

struct config_header_match {
    struct config_pos pos;
    const char *name;  /* in lower case */
    const char *value; /* compares byte for byte */
};

/* All given conditions must hold; in a list, one of its items. */
struct config_match {
    struct config_pos pos;
    struct config_str *hosts; /* lower case, no port; "*.example.com": one or more labels more */
    size_t host_count;        /* 0: every host */
    struct config_path_match path;
    struct config_str *methods;
    size_t method_count; /* 0: every method */
    struct config_header_match *headers;
    size_t header_count;
    const char *listener; /* the name of one; NULL: whichever it came by */
};

struct config_target {
    struct config_pos pos;
    const char *name; /* of the pool */
    uint32_t pool;    /* its index in config.pools */
    uint32_t weight;  /* 0..1000000 */
};

struct config_retry {
    struct config_pos pos;
    uint32_t attempts;       /* further ones after the first, 0..10 */
    struct config_str *when; /* "connect", "503" and so on */
    size_t when_count;       /* 0: connect, reset and timeout */
    struct config_str *methods;
    size_t method_count;     /* of POST and PATCH, which are sent twice then */
    uint64_t backoff_ms;     /* the longest pause before the first */
    uint64_t max_backoff_ms; /* ... before any; no less than backoff_ms */
    uint64_t retry_after_ms; /* the longest that an endpoint may ask for */
    bool same_endpoint;      /* once there is no other */
};

struct config_route {
    struct config_pos pos;
    const char *name; /* "route-<n>", n from 1, unless given; unique */
    struct config_match match;
    struct config_target *to; /* at least one */
    size_t to_count;
    uint64_t request_ms; /* whole request, or CONFIG_NONE; timeouts.request unless given */
    uint64_t try_ms;     /* response head, per try; timeouts.response_head unless given */
    struct config_retry retry;
};

struct config_endpoint {
    struct config_pos pos;
    struct config_addr address; /* host: an IP address or a name to be resolved; port never 0 */
    struct config_addr also;    /* another one of the same server; text NULL: none is known */
    uint32_t weight;            /* 0..1000; 0: no new requests */
    const char *zone;           /* or NULL */
    uint32_t priority;          /* 0..7; lower goes first */
    bool backup;                /* only when no other is usable */
    uint32_t max_requests;      /* in flight; 0: any number */
    uint32_t max_connections;   /* in use; 0: any number; HTTP/1 only */
    bool drain;                 /* no new requests, but counts when weights are compared */
    struct config_addr health;  /* where it is checked; text NULL: at the pool's health.port, or
                                   where requests go */
};

/* What requests have in common that go to the same endpoint: one of four. */
struct config_key {
    struct config_pos pos;
    bool enabled;       /* false: there is none */
    const char *part;   /* client_ip or path; or NULL */
    const char *header; /* in lower case; or NULL */
    const char *cookie; /* or NULL */
    const char *query;  /* the name of a parameter; or NULL */
};

#define CONFIG_NO_INSTANCE UINT32_MAX

struct config_balance {
    struct config_pos pos;
    const char *policy;    /* a name that lb_policy_find knows */
    struct config_key key; /* enabled if the policy uses it, and only then */
    uint32_t bound;        /* percent of the mean load, 101..10000; 0: none */
    uint32_t subset;       /* endpoints that a worker uses; 0: all */
};

enum config_outlier_mode {
    CONFIG_OUTLIER_NONE,
    CONFIG_OUTLIER_OBSERVE, /* only counted and logged */
    CONFIG_OUTLIER_ENFORCE,
};

/* Endpoints are compared with one another. */
struct config_outlier_rule {
    struct config_pos pos;
    enum config_outlier_mode mode;
    uint32_t factor;    /* percent */
    uint32_t endpoints; /* at least so many that have had */
    uint32_t requests;  /* so many each in an interval */
    uint64_t least_ms;  /* latency only */
};

struct config_outlier {
    struct config_pos pos;
    enum config_outlier_mode mode; /* OBSERVE: of the rules, too */
    uint32_t errors;               /* in a row; 0: any */
    uint64_t eject_ms;             /* times how often */
    uint64_t max_eject_ms;         /* no less than eject_ms */
    uint32_t max;                  /* percent of the endpoints, 1..100 */
    uint64_t interval_ms;
    struct config_outlier_rule success_rate;
    struct config_outlier_rule latency;
};

#define CONFIG_RATIO_ANY UINT32_MAX

/* How many retries a pool may get. */
struct config_retry_budget {
    struct config_pos pos;
    uint32_t ratio;     /* percent of the window's requests, 0..100; or CONFIG_RATIO_ANY */
    uint32_t min;       /* a second, in any case */
    uint64_t window_ms; /* at least 1 s */
};

/* An answer's status codes, 100..599. */
struct config_status {
    struct config_pos pos;
    uint32_t from;
    uint32_t to; /* 0: from alone */
};

struct config_health_http {
    struct config_pos pos;
    bool enabled;
    const char *path; /* may have a query */
    const char *method;
    const char *host; /* or NULL: the endpoint's address */
    struct config_header_match *headers;
    size_t header_count;
    struct config_status *status;
    size_t status_count; /* 0: 200..399 */
    const char *body;    /* a text that is in the answer; or NULL */
};

struct config_health_grpc {
    struct config_pos pos;
    bool enabled;
    const char *service; /* or NULL: the server as a whole */
    const char *host;    /* or NULL: the endpoint's address */
};

/* Exactly one of http, tcp and grpc is enabled. */
struct config_health {
    struct config_pos pos;
    bool enabled; /* false: endpoints are not checked, and the rest is unset */
    struct config_health_http http;
    struct config_health_grpc grpc;
    bool tcp;
    uint64_t every_ms;
    uint64_t every_down_ms; /* 0: every_ms */
    uint64_t timeout_ms;    /* at most every_ms and every_down_ms */
    uint32_t down_after, up_after;
    uint32_t jitter; /* percent */
    uint32_t port;   /* 0: the endpoints' */
    bool tls;        /* as the pool has it; false: plain text */
    bool must_pass;  /* no requests before a check has passed */
};

enum config_order {
    CONFIG_ORDER_ADAPTIVE, /* the newest first under overload */
    CONFIG_ORDER_FIFO,
};

struct config_queue {
    struct config_pos pos;
    bool enabled; /* false: the pool has no limit */
    uint32_t max; /* 0: nobody waits */
    uint64_t wait_ms;
    enum config_order order;
    struct config_key key; /* whose requests take turns; not enabled: that of balance, if any */
};

enum config_limit_mode {
    CONFIG_LIMIT_NONE,
    CONFIG_LIMIT_ADAPTIVE,
};

/* What is learnt of how many requests the pool takes; max_requests is its upper bound. */
struct config_limit {
    struct config_pos pos;
    enum config_limit_mode mode;
    uint32_t min;   /* at most max_requests */
    uint32_t start; /* may be beyond either */
};

enum config_protocol {
    CONFIG_PROTOCOL_AUTO, /* with tls what ALPN says, else HTTP/1 */
    CONFIG_PROTOCOL_H1,
    CONFIG_PROTOCOL_H2,
};

enum config_proxy_header {
    CONFIG_PROXY_NONE,
    CONFIG_PROXY_V1,
    CONFIG_PROXY_V2,
};

/* Sessions that stay at their endpoint. */
struct config_sticky {
    struct config_pos pos;
    bool enabled;
    const char *cookie; /* its name */
    uint64_t ttl_ms;    /* 0: as long as the browser runs */
    const char *path;
    const char *secret; /* NULL: none */
};

enum config_dns_type {
    CONFIG_DNS_AUTO, /* IPv4 addresses; IPv6 ones if there are none */
    CONFIG_DNS_A,
    CONFIG_DNS_AAAA,
    CONFIG_DNS_SRV,
};

/* A name whose addresses are the endpoints. */
struct config_dns {
    struct config_pos pos;
    bool enabled;
    const char *name; /* a host name; with SRV such as _http._tcp.app.internal */
    enum config_dns_type type;
    uint32_t port;             /* 0 with SRV, which says it */
    struct config_addr server; /* text NULL: those of resolv.conf */
    uint64_t min_ttl_ms, max_ttl_ms;
};

/* Endpoints register themselves. */
struct config_registry {
    struct config_pos pos;
    bool enabled;
    uint32_t max; /* at once */
};

#define CONFIG_ETCD_SERVERS_MAX 16
#define CONFIG_ETCD_KEY_MAX     1024

/* Keys of etcd that each have an endpoint. */
struct config_etcd {
    struct config_pos pos;
    bool enabled;
    struct config_addr *servers; /* tcp, 1 to CONFIG_ETCD_SERVERS_MAX */
    size_t server_count;
    const char *prefix; /* not empty */
    struct config_tls_client tls;
    const char *user;                /* NULL: none */
    struct config_str password_file; /* with user */
    uint64_t silence_ms;
};

/* The EndpointSlices of a Service are the endpoints. */
struct config_kubernetes {
    struct config_pos pos;
    bool enabled;
    const char *service;
    const char *namespace;         /* NULL: weir's own */
    const char *port;              /* a name or a number; NULL: there is only one */
    struct config_str kubeconfig;  /* text NULL: weir runs in the cluster */
    struct config_str credentials; /* the folder of what a pod is given; without kubeconfig */
};

/* Whether it can be the name of a namespace or a Service. */
bool config_kubernetes_name_ok(const char *name);

/* Exactly one of endpoints, dns, etcd, file, kubernetes and registry is given. */
struct config_pool {
    struct config_pos pos;
    const char *name;
    struct config_endpoint *endpoints; /* at least one, if they are given here */
    size_t endpoint_count;
    struct config_dns dns;
    struct config_etcd etcd;
    struct config_str file; /* text NULL: it is not from there that they come */
    struct config_kubernetes kubernetes;
    struct config_registry registry;
    struct config_balance balance;
    struct config_health health;
    uint64_t slow_start_ms; /* 0: none */
    struct config_sticky sticky;
    struct config_outlier outlier;
    uint32_t max_requests;    /* in flight; 0: any number */
    uint32_t max_connections; /* in use; 0: any number; HTTP/1 only */
    struct config_limit limit;
    struct config_queue queue; /* enabled if there is any limit */
    struct config_retry_budget retry_budget;
    uint32_t hedge; /* percent, 50..99; 0: never */
    uint64_t connect_ms;
    uint64_t idle_ms;  /* how long an idle conn is kept */
    uint64_t ping_ms;  /* that a conn of HTTP/2 with requests may be silent; 0: for ever */
    uint32_t max_idle; /* idle conns per worker and endpoint, 0..65536 */
    enum config_protocol protocol;
    struct config_tls_client tls;
    enum config_proxy_header proxy_protocol; /* the header that each conn begins with */
};

enum config_remote {
    CONFIG_REMOTE_TOKEN,  /* whoever has the token, which there is if it is not on the loopback */
    CONFIG_REMOTE_PROBES, /* anybody, but only for what says nothing of the configuration */
};

struct config_admin {
    struct config_pos pos;
    bool enabled;
    struct config_addr listen;    /* ":9900" has become 127.0.0.1:9900 */
    struct config_str token_file; /* text NULL: none is needed */
    enum config_remote remote;
    struct config_tls_server tls; /* of it certs, client_ca, client_auth and min_version */
};

enum config_log_level {
    CONFIG_LOG_DEBUG,
    CONFIG_LOG_INFO,
    CONFIG_LOG_WARN,
    CONFIG_LOG_ERROR,
};

enum config_log_format {
    CONFIG_FORMAT_JSON,
    CONFIG_FORMAT_CLF,
    CONFIG_FORMAT_TEMPLATE,
};

struct config_access_log {
    struct config_pos pos;
    bool enabled;
    const char *path;          /* NULL: syslog */
    struct config_str *fields; /* of json; none: all */
    size_t field_count;
    uint32_t sample; /* percent of the requests that went well */
    struct config_rotate {
        struct config_pos pos;
        uint64_t size; /* bytes, or CONFIG_NONE: never */
        uint32_t keep;
    } rotate;
    struct config_syslog {
        struct config_pos pos;
        bool enabled;
        struct config_addr to; /* a socket of Unix, or where UDP goes */
        const char *facility;
        const char *tag;
    } syslog;
    struct config_format {
        struct config_pos pos;
        enum config_log_format kind;
        const char *text; /* as written: "json", "clf" or the template, which contains a '{' */
    } format;
};

/* The flight recorder. */
struct config_flight {
    struct config_pos pos;
    uint32_t size;    /* records of each kind for each worker; 0: none are kept */
    uint64_t slow_ms; /* or CONFIG_NONE */
};

enum config_trace_parent {
    CONFIG_TRACE_FOLLOW, /* who begins a trace decides whether it is recorded */
    CONFIG_TRACE_IGNORE, /* weir decides of every trace */
};

struct config_tracing {
    struct config_pos pos;
    bool enabled;
    uint32_t sample; /* millionths of the traces that begin here */
    enum config_trace_parent parent;
    const char *service; /* what this weir is called in traces */
    struct config_trace_export {
        struct config_pos pos;
        bool enabled;
        const char *url;      /* of the collector, without /v1/traces */
        struct config_str ca; /* text NULL: the system's */
        struct config_header_match *headers;
        size_t header_count;
        uint32_t batch;    /* spans of one request, 1..8192 */
        uint64_t every_ms; /* how long spans wait for others */
        uint64_t timeout_ms;
    } export;
};

struct config_limits {
    struct config_pos pos;
    uint32_t connections;  /* client conns, whole process */
    uint64_t header_bytes; /* a request or response head */
    uint32_t headers;      /* fields in a head */
    uint64_t target_bytes; /* a request target; less than header_bytes */
    uint64_t body_bytes;   /* a request body; CONFIG_NONE: no limit */
    uint64_t buffer;       /* body bytes held in each direction */
};

/* Milliseconds. */
struct config_timeouts {
    struct config_pos pos;
    uint64_t request_head;
    uint64_t client_idle;   /* between requests of a keep-alive conn */
    uint64_t request_body;  /* between bytes, until the response begins */
    uint64_t response_head; /* per try */
    uint64_t response_idle; /* between bytes of either direction from then on */
    uint64_t request;       /* the whole, or CONFIG_NONE */
    uint64_t upgraded;      /* idle, after a 101 */
    uint64_t write_stall;
    uint64_t tls_handshake;
};

/* Whom weir becomes once it listens. */
struct config_user {
    struct config_pos pos;
    bool enabled;
    const char *name;
    const char *group; /* NULL: the user's own, with those that it is in besides */
};

struct config {
    struct config_pos pos; /* the top of the document; pos.file is the file's name */
    uint32_t version;
    uint32_t workers; /* 1..256, or 0: as many as there are CPUs to use */
    uint64_t shutdown_ms;
    const char *zone;  /* that weir is in; or NULL */
    uint32_t instance; /* its number among its like, or CONFIG_NO_INSTANCE */
    struct config_user user;
    bool sandbox;
    struct config_admin admin;
    struct config_str registry_state;      /* where registrations are kept; text NULL: nowhere */
    struct config_str registry_token_file; /* text NULL: the admin listener's alone is one */
    bool watch;                            /* the file is read again when it changes */
    enum config_log_level log_level;
    struct config_access_log access_log;
    struct config_flight flight;
    struct config_tracing tracing;
    struct config_limits limits;
    struct config_timeouts timeouts;
    struct config_listener *listeners; /* at least one */
    size_t listener_count;
    struct config_route *routes; /* in the file's order */
    size_t route_count;
    struct config_pool *pools;
    size_t pool_count;
    struct config_str *files; /* that are named in it, or were substituted */
    size_t file_count;
    struct config_mem *mem; /* owns all of the above and this struct */
};

enum config_severity {
    CONFIG_ERROR,
    CONFIG_WARNING,
};

struct config_error {
    enum config_severity severity;
    struct config_pos pos;
    const char *path;    /* in the YAML, such as "routes[2].to"; "" for the whole document */
    const char *message; /* what is wrong, what was expected, what to do; one line */
};

/* Starts as {0}. The list keeps the order of the file; its strings live until config_errors_free.
 */
struct config_errors {
    struct config_error *items;
    size_t count;
    size_t errors;   /* of which errors, including those that were too many to keep */
    size_t warnings; /* of which warnings, likewise */
    size_t capacity;
    struct config_mem *mem;
};

/*
 * Loads and checks a file, or `len` bytes that are called `name` in messages. 0: *out is the
 * configuration, to be freed with config_free, and errs holds at most warnings. -1: *out is NULL
 * and errs has every error that was found. errs is added to, not reset. Bytes may be any. Relative
 * paths begin in the folder of a regular file; those of a text and a pipe are left as they are.
 */
int config_load_file(const char *path, struct config **out, struct config_errors *errs);
int config_load_text(const char *name, const char *bytes, size_t len, struct config **out,
                     struct config_errors *errs);

/* The same of a text that would take the place of the file at path: relative paths begin in the
 * folder of that. */
int config_load_text_for(const char *path, const char *name, const char *bytes, size_t len,
                         struct config **out, struct config_errors *errs);

/*
 * The configuration of `weir proxy --from FROM --to TO...`: one listener, one route, one pool. Its
 * file is called "(command line)". The arguments are addresses as in the file; nothing in them is
 * substituted. Otherwise like config_load_text.
 */
int config_load_proxy(const char *from, const char *const *to, size_t to_count, struct config **out,
                      struct config_errors *errs);

/* NULL is fine. */
void config_free(struct config *cfg);

/*
 * Adds a message, for those who find out later what is wrong: a listener's address that is in use,
 * a name that does not resolve. `path` may be NULL. Copies everything it is given.
 */
void config_errors_add(struct config_errors *errs, enum config_severity severity,
                       struct config_pos pos, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* One line each, `file:line:column: error: path: message`, in the order of the file. */
void config_errors_print(const struct config_errors *errs, FILE *out);

/* Forgets and frees all messages; errs may be used again. */
void config_errors_free(struct config_errors *errs);

/*
 * Writes the effective configuration, all defaults included, as YAML that loads to the same
 * configuration again. What was substituted stands there as plain text, secrets too.
 */
void config_dump(const struct config *cfg, FILE *out);

/*
 * A number for what is said of a listener or a pool, all defaults included, and for what is said
 * for all of them: two configurations in which it is the same mean the same by it. What files hold
 * and what names resolve to is no part of it.
 */
uint64_t config_listener_hash(const struct config *cfg, size_t listener);
uint64_t config_pool_hash(const struct config *cfg, size_t pool);
uint64_t config_common_hash(const struct config *cfg);

/* The same of a route, and of an endpoint. */
uint64_t config_route_hash(const struct config *cfg, size_t route);
uint64_t config_endpoint_hash(const struct config_endpoint *endpoint);

/* Calls told for each key of the file, but for those that list listeners, routes and pools, that
 * says something else; restart: that counts only when weir starts. */
void config_settings_differ(const struct config *cfg, const struct config *other,
                            void (*told)(void *ctx, const char *key, bool restart), void *ctx);

/* The same for what is said of how a pool's connections are made: those of one are as good for
 * another in which it is the same, if they lead to the same address. */
uint64_t config_conns_hash(const struct config *cfg, size_t pool);

/*
 * Endpoints as they are found while weir runs. Counted, and never changed once there are two who
 * count. Control thread.
 */
struct config_endpoints {
    uint32_t refs;
    struct config_endpoint *items;
    size_t count;
    uint64_t hash; /* of all that is said of them: the same number, the same endpoints */
    struct config_mem *mem;
};

/*
 * Reads a file of endpoints: a list of them as in a pool, or a mapping with one as `endpoints`. It
 * may be empty. Nothing in it is substituted, and hosts are addresses. Otherwise like
 * config_load_text.
 */
int config_endpoints_load(const char *name, const char *bytes, size_t len,
                          struct config_endpoints **out, struct config_errors *errs);

/* One of such a list, in memory of its own, to be freed; without a position. NULL: errs has why. */
struct config_endpoint *config_endpoint_load(const char *name, const char *bytes, size_t len,
                                             struct config_errors *errs);

/* Copies of those, but for all of an address behind the first. NULL: errs has why they do not go
 * together. */
struct config_endpoints *config_endpoints_join(const struct config_endpoint *const *items,
                                               size_t count, struct config_errors *errs);

/* Those of a pool as they were configured, copied: names and all. Never NULL. */
struct config_endpoints *config_endpoints_copy(const struct config_endpoint *items, size_t count);

/* With room for count, which are all zero until config_endpoints_put; then _done. Never NULL. */
struct config_endpoints *config_endpoints_new(size_t count);
/* The one at index: the address of an IP host, numeric. */
void config_endpoints_put(struct config_endpoints *set, size_t index, const char *host,
                          uint16_t port, uint32_t weight, uint32_t priority);
/* ... another address of it, at the same port. */
void config_endpoints_also(struct config_endpoints *set, size_t index, const char *host);
/* ... and its zone, copied, NULL for none; and whether it is in drain. */
void config_endpoints_place(struct config_endpoints *set, size_t index, const char *zone,
                            bool drain);
void config_endpoints_done(struct config_endpoints *set);

/* Returns set. */
struct config_endpoints *config_endpoints_ref(struct config_endpoints *set);
/* The last one frees it. NULL is fine. */
void config_endpoints_unref(struct config_endpoints *set);

/* Whether the pool's endpoints come from elsewhere. */
bool config_pool_discovers(const struct config_pool *pool);

/* What is said of where a discovering pool's endpoints come from, as config_pool_hash. */
uint64_t config_pool_source_hash(const struct config_pool *pool);

/* The pool with these endpoints, which both have to outlive. Its pos and all that its rows say are
 * as they were, but for a queue if only these endpoints ask for one. */
struct config_pool config_pool_with(const struct config_pool *pool,
                                    const struct config_endpoints *set);

/*
 * What an endpoint says of itself that registers, and what it is called.
 */
struct config_registration {
    struct config_endpoint endpoint;
    uint64_t ttl_ms;
    const char *id; /* NULL but in a state */
};

/* 1 to 128 letters, digits, '.', '_', ':' or '-', and not "." or "..", which lead elsewhere in a
 * path? */
bool config_registration_id_ok(const char *id);

/* Reads a registration: a JSON (or YAML) object of an endpoint's rows and ttl. Nothing in it is
 * substituted, and hosts are addresses. Its memory is *mem, the caller's to config_mem_free; of no
 * use, and NULL, unless 0 is returned. */
int config_registration_load(const char *name, const char *bytes, size_t len,
                             struct config_registration *out, struct config_mem **mem,
                             struct config_errors *errs);

/* The same number, the same endpoint and ttl. */
uint64_t config_registration_hash(const struct config_registration *r);

/* Who was registered, in a file. */
struct config_registered_pool {
    struct config_pos pos;
    const char *name;
    struct config_registration *items;
    size_t count;
};

struct config_registered {
    struct config_pos pos;
    uint32_t version;
    struct config_registered_pool *pools;
    size_t count;
};

/* As config_registration_load and config_dump. */
int config_registered_load(const char *name, const char *bytes, size_t len,
                           struct config_registered *out, struct config_mem **mem,
                           struct config_errors *errs);
void config_registered_dump(const struct config_registered *r, FILE *out);

/* The first key that only counts when weir starts and that differs, or NULL: "workers", ... */
/* The number of a facility of syslog that a configuration may name (RFC 5424 table 1). */
unsigned config_facility(const char *name);

const char *config_restart_key(const struct config *cfg, const struct config *other);

/* Writes the JSON Schema (draft 2020-12) of the file. */
void config_schema(FILE *out);

/* Writes the page weir.yaml(5) of the manual, in roff: every key with its range and default. */
void config_manual(FILE *out);

#endif
