/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers that weir itself asks. Owns the context of TLS; must never end before the last of its
 * fetches has. Reactor's thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls.h"
#include "proxy/upstream/fetch_state.h"
#include "proxy/upstream/fetch_tls.h"

static void on_client_over(struct ready *ready)
{
    struct fetch_client *client = CONTAINER_OF(ready, fetch_client, ready);
    struct reactor *r = client->reactor;
    CHECK(client->magic == FETCH_CLIENT_MAGIC && client->n_fetches == 0);
    client->magic = 0;
    tls_client_ctx_free(client->tls);
    free(client);
    reactor_unhold(r);
}

struct fetch_client *fetch_client_new(struct reactor *r, const struct fetch_url *url)
{
    struct fetch_client *client = mem_need(calloc(1, sizeof(*client)));
    client->magic = FETCH_CLIENT_MAGIC;
    client->reactor = r;
    client->url = *url;
    client->ready.run = on_client_over;
    fetch_url_authority(url, client->authority);
    list_init(&client->fetches);
    list_init(&client->ready.link);
    reactor_hold(r);
    return client;
}

static void on_handshake(void *ctx, uint32_t endpoint, const struct tls_info *info)
{
    struct fetch_client *client = CAST_OBJ(fetch_client, ctx, FETCH_CLIENT_MAGIC);
    (void)endpoint;
    if (info->error != NULL)
        snprintf(client->tls_why, sizeof(client->tls_why), "TLS: %.100s; %s", info->error,
                 client->tls_wanted);
}

static void say_wanted(struct fetch_client *client, const struct fetch_tls *tls, const char *name)
{
    const char *by = tls->ca_pem.len > 0    ? "the CA's data"
                     : tls->ca_file != NULL ? tls->ca_file
                                            : "this system's authorities";
    if (tls->no_verify)
        snprintf(client->tls_wanted, sizeof(client->tls_wanted),
                 "the server has to speak TLS there");
    else
        snprintf(client->tls_wanted, sizeof(client->tls_wanted),
                 "the server has to speak TLS there, with a certificate for %.80s by %.200s", name,
                 by);
}

bool fetch_client_secure(struct fetch_client *client, const struct fetch_tls *tls, char **error)
{
    const struct tls_client_options options = {
        .server_name = tls->server_name != NULL ? tls->server_name : client->url.host,
        .no_verify = tls->no_verify,
        .alpn = TLS_ALPN_H1,
        .ended = on_handshake,
        .ctx = client,
    };
    struct tls_client_ctx *made = fetch_tls_ctx(tls, &options, error);
    if (made == NULL)
        return false;
    tls_client_ctx_free(client->tls);
    client->tls = made;
    say_wanted(client, tls, options.server_name);
    return true;
}

bool fetch_client_ready(const struct fetch_client *client)
{
    return client->tls != NULL || !client->url.tls;
}

void fetch_client_end(struct fetch_client *client)
{
    if (client == NULL)
        return;
    CHECK(client->magic == FETCH_CLIENT_MAGIC && !client->ended);
    client->ended = true;
    while (!list_empty(&client->fetches))
        fetch_cancel(CONTAINER_OF(client->fetches.next, fetch, link));
    if (client->n_fetches == 0)
        reactor_later(client->reactor, &client->ready);
}

void fetch_client_left(struct fetch_client *client)
{
    client->n_fetches--;
    if (client->ended && client->n_fetches == 0)
        reactor_later(client->reactor, &client->ready);
}
