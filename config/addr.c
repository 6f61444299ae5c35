/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and networks. Must not resolve anything: a name stays a name. Pure but for what it
 * reports. Control thread.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config/bind.h"
#include "config/emit.h"
#include "config/mem.h"
#include "config/tree.h"
#include "config/types.h"
#include "proxy/base/check.h"
#include "proxy/base/span.h"

#define UNIX_PREFIX "unix:"

static const char digits[] = "0123456789";

/* An address as text, while it is being taken apart. */
struct parts {
    struct bind *b;
    const struct schema_row *row;
    const struct tree_node *node;
    const char *text;
    char *host; /* in the configuration's memory */
    uint16_t port;
    bool brackets;
};

static bool is_ip(int family, const char *text)
{
    unsigned char addr[sizeof(struct in6_addr)];
    return inet_pton(family, text, addr) == 1;
}

bool grammar_host_ok(const char *host, size_t len)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0, label = 0; i <= len; i++) {
        if (i < len && host[i] != '.') {
            if (host[i] == '\0' || strchr(letters, host[i]) == NULL)
                return false;
            label++;
            continue;
        }
        if (label == 0 || label > 63 || host[i - 1] == '-' || host[i - label] == '-')
            return false;
        label = 0;
    }
    return true;
}

bool grammar_host_is_numeric(const char *host, size_t len)
{
    size_t label = len;
    while (label > 0 && host[label - 1] != '.')
        label--;
    return label < len && label + strspn(host + label, digits) >= len;
}

static bool parts_error(struct parts *p, const char *why)
{
    bind_error(p->b, p->node->pos, "%s: %s", bind_quote(p->b, p->text), why);
    return false;
}

static bool read_port(struct parts *p, const char *text)
{
    unsigned long port = 0;
    size_t len = strlen(text);
    bool ok = len > 0 && len <= 5 && strspn(text, digits) == len && (len == 1 || *text != '0');
    if (ok)
        port = strtoul(text, NULL, 10);
    bool listen = p->row->flags & ROW_LISTEN;
    if (!ok || port > 65535 || (port == 0 && !listen))
        return parts_error(p, listen ? "the port has to be a number from 0 to 65535"
                                     : "the port has to be a number from 1 to 65535");
    p->port = (uint16_t)port;
    return true;
}

/* "[v6]:port" */
static bool split_brackets(struct parts *p)
{
    const char *end = strchr(p->text, ']');
    if (end == NULL || end[1] != ':')
        return parts_error(p, "expected an IPv6 address and a port, such as \"[::1]:8080\"");
    p->brackets = true;
    p->host = config_mem_dup(p->b->mem, p->text + 1, (size_t)(end - p->text - 1));
    if (!is_ip(AF_INET6, p->host))
        return parts_error(p, "what is in brackets is not an IPv6 address");
    return read_port(p, end + 2);
}

/* "host:port", ":port" */
static bool split_plain(struct parts *p)
{
    const char *colon = strrchr(p->text, ':');
    if (colon == NULL) {
        bind_error(p->b, p->node->pos, "expected %s; found %s, which has no port",
                   type_expected(p->row), bind_quote(p->b, p->text));
        return false;
    }
    if (memchr(p->text, ':', (size_t)(colon - p->text)) != NULL)
        return parts_error(p,
                           is_ip(AF_INET6, p->text)
                               ? "an IPv6 address needs brackets and a port, such as \"[::1]:80\""
                               : "expected one colon, between host and port; write IPv6 "
                                 "addresses in brackets and no http://");
    p->host = config_mem_dup(p->b->mem, p->text, (size_t)(colon - p->text));
    return read_port(p, colon + 1);
}

/* A listener's host is an address of this machine: nothing is resolved for it. */
static bool check_listen_host(struct parts *p)
{
    if (p->brackets || *p->host == '\0' || is_ip(AF_INET, p->host))
        return true;
    if (strcmp(p->host, "*") == 0)
        return parts_error(p, "for every address leave the host out, such as \":8000\"");
    if (strcmp(p->host, "localhost") == 0)
        return parts_error(p, "a name cannot be listened on; write 127.0.0.1 or [::1]");
    return parts_error(p, "the host has to be an IP address, or left out for every address");
}

static bool check_endpoint_host(struct parts *p)
{
    size_t len = strlen(p->host);
    if (len == 0)
        return parts_error(p, "the host is missing; for this machine write 127.0.0.1");
    if (p->brackets || is_ip(AF_INET, p->host))
        return true;
    if (grammar_host_is_numeric(p->host, len))
        return parts_error(p, "the host is not an IPv4 address, and a name cannot end in a number");
    size_t label = p->host[len - 1] == '.' ? len - 1 : len; /* a resolver takes "name." too */
    if (!grammar_host_ok(p->host, label))
        return parts_error(p, "the host is neither an IP address nor a valid name");
    return true;
}

static bool parse_unix(struct bind *b, const struct tree_node *node, const char *text,
                       struct config_addr *addr)
{
    const char *path = text + strlen(UNIX_PREFIX);
    if (*path != '/') {
        bind_error(b, node->pos, "%s: expected an absolute path, such as unix:/run/weir.sock",
                   bind_quote(b, text));
        return false;
    }
    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        bind_error(b, node->pos, "%s: the path of a socket has at most %zu bytes",
                   bind_quote(b, text), sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
        return false;
    }
    addr->kind = CONFIG_ADDR_UNIX;
    addr->path = config_mem_dup(b->mem, path, strlen(path));
    return true;
}

static bool parse_tcp(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                      const char *text, struct config_addr *addr)
{
    struct parts p = {.b = b, .row = row, .node = node, .text = text};
    if (!(*text == '[' ? split_brackets(&p) : split_plain(&p)))
        return false;
    if (!(row->flags & ROW_LISTEN ? check_listen_host(&p) : check_endpoint_host(&p)))
        return false;
    addr->kind = CONFIG_ADDR_TCP;
    addr->host = p.host;
    addr->port = p.port;
    if (*p.host == '\0' && (row->flags & ROW_LOOPBACK)) {
        addr->host = "127.0.0.1";
        addr->text = config_mem_printf(b->mem, "127.0.0.1:%u", p.port);
    }
    return true;
}

static bool parse_address(struct bind *b, const struct schema_row *row,
                          const struct tree_node *node, void *field)
{
    struct config_addr addr = {.pos = node->pos};
    const char *text;
    if (!type_text(b, row, node, &text))
        return false;
    addr.text = config_mem_dup(b->mem, text, strlen(text));
    bool ok = span_starts(span_str(text), SPAN_LIT(UNIX_PREFIX))
                  ? parse_unix(b, node, text, &addr)
                  : parse_tcp(b, row, node, text, &addr);
    if (ok)
        *(struct config_addr *)field = addr;
    return ok;
}

static void print_address(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    emit_text(out, ((const struct config_addr *)field)->text);
}

static bool address_is_set(const void *field)
{
    return ((const struct config_addr *)field)->text != NULL;
}

const struct schema_type type_address = {
    .name = "address",
    .expected = "an address such as 127.0.0.1:8080, \"[::1]:8080\" or \"unix:/run/app.sock\"",
    .json_type = "string",
    .pattern = "^(unix:/.+|\\[[0-9a-fA-F:.]+\\]:[0-9]{1,5}|[^:/\\[\\]]*:[0-9]{1,5})$",
    .parse = parse_address,
    .print = print_address,
    .is_set = address_is_set,
};

/* Networks. */

static unsigned address_bits(enum config_cidr_kind kind)
{
    return kind == CONFIG_CIDR_V4 ? 32 : 128;
}

static bool read_bits(const char *text, unsigned max, uint8_t *bits)
{
    size_t len = strlen(text);
    if (len == 0 || len > 3 || strspn(text, digits) != len || (len > 1 && *text == '0'))
        return false;
    unsigned long n = strtoul(text, NULL, 10);
    *bits = (uint8_t)n;
    return n <= max;
}

/* Clears what is behind the prefix; false if something was there. */
static bool mask_bits(struct config_cidr *c)
{
    bool clear = true;
    for (unsigned i = c->bits; i < address_bits(c->kind); i++) {
        uint8_t bit = (uint8_t)(0x80 >> i % 8);
        clear &= (c->addr[i / 8] & bit) == 0;
        c->addr[i / 8] &= (uint8_t)~bit;
    }
    return clear;
}

static const char *network_text(struct bind *b, const struct config_cidr *c)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(c->kind == CONFIG_CIDR_V4 ? AF_INET : AF_INET6, c->addr, text, sizeof(text));
    return config_mem_printf(b->scratch, "%s/%u", text, c->bits);
}

static bool read_network(struct bind *b, const struct tree_node *node, const char *text,
                         struct config_cidr *c)
{
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    const char *address = config_mem_dup(b->scratch, text, len);
    bool v4 = inet_pton(AF_INET, address, c->addr) == 1;
    if (!v4 && inet_pton(AF_INET6, address, c->addr) != 1) {
        bind_error(b, node->pos, "expected %s; found %s", type_cidr.expected, bind_quote(b, text));
        return false;
    }
    c->kind = v4 ? CONFIG_CIDR_V4 : CONFIG_CIDR_V6;
    c->bits = (uint8_t)address_bits(c->kind);
    if (slash != NULL && !read_bits(slash + 1, address_bits(c->kind), &c->bits)) {
        bind_error(b, node->pos, "%s: expected a number from 0 to %u after the slash",
                   bind_quote(b, text), address_bits(c->kind));
        return false;
    }
    if (!mask_bits(c)) {
        bind_error(b, node->pos, "%s has bits set after the first %u; write \"%s\"",
                   bind_quote(b, text), c->bits, network_text(b, c));
        return false;
    }
    return true;
}

static bool parse_cidr(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       void *field)
{
    struct config_cidr c = {.pos = node->pos, .kind = CONFIG_CIDR_UNIX};
    const char *text;
    if (!type_text(b, row, node, &text))
        return false;
    if (strcmp(text, "unix") != 0 && !read_network(b, node, text, &c))
        return false;
    c.text = config_mem_dup(b->mem, text, strlen(text));
    *(struct config_cidr *)field = c;
    return true;
}

static void print_cidr(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    emit_text(out, ((const struct config_cidr *)field)->text);
}

const struct schema_type type_cidr = {
    .name = "network",
    .expected = "a network such as 10.0.0.0/8, an IP address, or unix",
    .json_type = "string",
    .pattern = "^(unix|[0-9.]+(/[0-9]{1,2})?|[0-9a-fA-F:.]+(/[0-9]{1,3})?)$",
    .parse = parse_cidr,
    .print = print_cidr,
};
