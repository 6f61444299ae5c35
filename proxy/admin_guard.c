/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what at the admin listener. Owns nothing; must never tell how close a token was.
 * Control thread. */
#include "proxy/admin_guard.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/base64.h"
#include "proxy/http/target.h"
#include "proxy/net/addr.h"
#include "proxy/reply.h"
#include "proxy/tls_source.h"

#define BASIC_MAX 512 /* of user:token, encoded; and the token is no longer */

/* ---- the token ---- */

/* Looks at every byte of what was sent, whatever the first ones are. */
static bool same_secret(struct span sent, struct span token)
{
    unsigned differs = sent.len != token.len;
    for (size_t i = 0; i < sent.len; i++)
        differs |= (unsigned)(sent.ptr[i] ^ token.ptr[token.len > 0 ? i % token.len : 0]);
    return token.len > 0 && differs == 0;
}

/* The password, whoever the user is. */
static bool basic_is(struct span encoded, struct span token)
{
    char text[BASIC_MAX];
    size_t len;
    if (!base64_decode(encoded, text, sizeof(text), &len))
        return false;
    const char *colon = memchr(text, ':', len);
    return colon != NULL &&
           same_secret(span_of(colon + 1, len - (size_t)(colon + 1 - text)), token);
}

bool admin_token_is(struct span authorization, struct span token)
{
    struct span scheme = authorization, rest;
    const char *space = memchr(authorization.ptr, ' ', authorization.len);
    if (space == NULL)
        return false;
    scheme.len = (size_t)(space - authorization.ptr);
    rest = span_trim(span_of(space, authorization.len - scheme.len));
    if (span_eq_nocase(scheme, SPAN_LIT("bearer")))
        return same_secret(rest, token);
    return span_eq_nocase(scheme, SPAN_LIT("basic")) && basic_is(rest, token);
}

/* ---- names ---- */

static bool field_of(const struct admin_ask *ask, struct span name, struct span *value)
{
    const struct http_head *head = ask->request;
    for (unsigned i = 0; i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), name)) {
            *value = field_value(&head->fields[i]);
            return true;
        }
    return false;
}

static bool is_address(struct span name)
{
    char text[64];
    struct net_addr addr;
    if (name.len == 0 || name.len >= sizeof(text))
        return false;
    if (name.ptr[0] == '[')
        return true;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return net_addr_ip(&addr, text, 0);
}

bool admin_host_is_local(struct span host)
{
    static const struct span under = {".localhost", 10};
    if (host.len == 0)
        return true;
    struct span name = host_name(host);
    if (is_address(name) || memchr(name.ptr, '.', name.len) == NULL)
        return true;
    return name.len > under.len &&
           span_eq_nocase(span_of(name.ptr + name.len - under.len, under.len), under);
}

/* Of the loopback, or by a Unix socket. */
static bool is_here(const struct http_peer *peer)
{
    struct span host = http_peer_host(peer);
    return span_eq(host, SPAN_LIT("unix:")) || span_starts(host, SPAN_LIT("127.")) ||
           span_eq(host, SPAN_LIT("::1"));
}

/* Has it shown a certificate that one of the authorities vouches for? */
static bool is_vouched_for(const struct admin_ask *ask)
{
    return ask->peer->tls != NULL && ask->peer->tls->verified;
}

static bool wants_cert(const struct admin_view *view)
{
    return view->tls != NULL && view->tls->ca != NULL;
}

static bool shows(const struct admin_ask *ask, struct span token)
{
    struct span sent;
    return token.len > 0 && field_of(ask, SPAN_LIT("authorization"), &sent) &&
           admin_token_is(sent, token);
}

/* Says what it takes. */
static bool refuse_secretless(const struct admin_ask *ask, struct span registry)
{
    static const struct reply_field challenge = {SPAN_LIT("WWW-Authenticate"),
                                                 SPAN_LIT("Basic realm=\"weir\"")};
    const char *cert = wants_cert(ask->view) ? ", or a certificate," : "";
    char text[128];
    if (ask->view->token.len == 0 && registry.len == 0) {
        admin_say(ask, 403, "the certificate of a client is needed\n");
        return false;
    }
    snprintf(text, sizeof(text), "the %s token%s is needed\n",
             registry.len == 0           ? "admin listener's"
             : ask->view->token.len == 0 ? "registry's"
                                         : "registry's or the admin listener's",
             cert);
    admin_refuse(ask, 401, &challenge, text);
    return false;
}

/* Of the page: that of the registry counts nowhere else. */
static struct span registry_token(const struct admin_ask *ask, enum admin_open open)
{
    return open == ADMIN_REGISTRY ? ask->view->registry_token : span_of(NULL, 0);
}

bool admin_guard(const struct admin_ask *ask, enum admin_open open)
{
    struct span token = ask->view->token, registry = registry_token(ask, open);
    bool locked = token.len > 0 || registry.len > 0 || wants_cert(ask->view);
    if (open == ADMIN_OPEN || is_vouched_for(ask) || shows(ask, token) || shows(ask, registry))
        return true;
    if (ask->view->probes && !is_here(ask->peer)) {
        if (open == ADMIN_PROBES)
            return true;
        if (!locked) {
            admin_say(ask, 403,
                      "from another machine there is no more than /livez, /readyz and "
                      "/metrics\n");
            return false;
        }
    }
    if (locked)
        return refuse_secretless(ask, registry);
    if (ask->view->is_unix || admin_host_is_local(ask->request->authority))
        return true;
    admin_say(ask, 403, "%.*s is no name of this machine's: ask by its address, or by localhost\n",
              (int)(ask->request->authority.len < 255 ? ask->request->authority.len : 255),
              ask->request->authority.ptr);
    return false;
}

/* ---- what changes something ---- */

/* A form has none of these, nor has a page of another site's without asking first. */
static bool is_marked(const struct admin_ask *ask)
{
    struct span value, type;
    if (field_of(ask, SPAN_LIT("x-weir"), &value))
        return true;
    return field_of(ask, SPAN_LIT("content-type"), &value) && span_next_piece(&value, ';', &type) &&
           span_eq_nocase(type, SPAN_LIT("application/json"));
}

/* "null" is what browsers say of whom they do not trust. */
static bool is_ours(const struct admin_ask *ask, struct span origin)
{
    struct span host = ask->request->authority;
    struct span scheme = ask->view->tls != NULL ? SPAN_LIT("https://") : SPAN_LIT("http://");
    return host.len > 0 && origin.len == scheme.len + host.len && span_starts(origin, scheme) &&
           span_eq_nocase(span_of(origin.ptr + scheme.len, host.len), host);
}

bool admin_guard_write(const struct admin_ask *ask)
{
    struct span origin;
    bool from_page = field_of(ask, SPAN_LIT("origin"), &origin);
    if (is_marked(ask) && (!from_page || is_ours(ask, origin)))
        return true;
    admin_say(ask, 403,
              "this changes something: send the field \"X-Weir: 1\", and from no page of "
              "another site\n");
    return false;
}
