/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of session tickets. Owns the state they are derived from; must never keep a state or a key
 * that is not needed any more. Any thread; the lock is taken when a key changes, not for a ticket.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_ctx.h"
#include "proxy/net/tls_ssl.h"

#define STATE_BYTES 32

struct tls_tickets {
    atomic_uint refs;
    atomic_uint_fast64_t generation;
    atomic_int_fast64_t change_at; /* Unix seconds */
    pthread_mutex_t lock;          /* of what is below */
    unsigned char state[STATE_BYTES];
    struct tls_ticket_key now, before;
};

/* out: 32 bytes, of which n are wanted. */
static void derive(const unsigned char *state, const char *label, unsigned char *out, size_t n)
{
    unsigned char whole[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    CHECK(HMAC(EVP_sha256(), state, STATE_BYTES, (const unsigned char *)label, strlen(label), whole,
               &len) != NULL &&
          len == STATE_BYTES && n <= len);
    memcpy(out, whole, n);
    OPENSSL_cleanse(whole, sizeof(whole));
}

static void next_key(struct tls_tickets *tickets)
{
    struct tls_ticket_key *key = &tickets->now;
    tickets->before = *key;
    derive(tickets->state, "name", key->name, sizeof(key->name));
    derive(tickets->state, "aes", key->aes, sizeof(key->aes));
    derive(tickets->state, "hmac", key->hmac, sizeof(key->hmac));
    derive(tickets->state, "next", tickets->state, STATE_BYTES);
    atomic_store(&tickets->change_at, time(NULL) + TLS_TICKET_ROTATE_S);
    atomic_fetch_add(&tickets->generation, 1);
}

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *tickets = mem_need(calloc(1, sizeof(*tickets)));
    atomic_init(&tickets->refs, 1);
    pthread_mutex_init(&tickets->lock, NULL);
    if (RAND_priv_bytes(tickets->state, STATE_BYTES) != 1 ||
        RAND_bytes(tickets->now.name, sizeof(tickets->now.name)) != 1 || /* that nobody has */
        RAND_priv_bytes(tickets->now.hmac, sizeof(tickets->now.hmac)) != 1 ||
        RAND_priv_bytes(tickets->now.aes, sizeof(tickets->now.aes)) != 1) {
        tls_tickets_unref(tickets);
        return NULL;
    }
    next_key(tickets);
    return tickets;
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *tickets)
{
    atomic_fetch_add_explicit(&tickets->refs, 1, memory_order_relaxed);
    return tickets;
}

void tls_tickets_unref(struct tls_tickets *tickets)
{
    if (tickets == NULL || atomic_fetch_sub_explicit(&tickets->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_destroy(&tickets->lock);
    OPENSSL_cleanse(tickets, sizeof(*tickets));
    free(tickets);
}

void tls_tickets_rotate(struct tls_tickets *tickets)
{
    pthread_mutex_lock(&tickets->lock);
    next_key(tickets);
    pthread_mutex_unlock(&tickets->lock);
}

void tls_tickets_get(struct tls_tickets *tickets, int64_t unix_s, struct tls_ticket_keys *keys)
{
    bool due = unix_s >= atomic_load_explicit(&tickets->change_at, memory_order_relaxed);
    if (!due && keys->generation == atomic_load(&tickets->generation))
        return;
    pthread_mutex_lock(&tickets->lock);
    if (unix_s >= atomic_load_explicit(&tickets->change_at, memory_order_relaxed))
        next_key(tickets);
    *keys =
        (struct tls_ticket_keys){atomic_load(&tickets->generation), tickets->now, tickets->before};
    pthread_mutex_unlock(&tickets->lock);
}

/* ---- to another process ---- */

struct saved {
    uint64_t change_at;
    unsigned char state[STATE_BYTES];
    struct tls_ticket_key now, before;
};
_Static_assert(sizeof(struct saved) == TLS_TICKETS_SAVED, "it has no gaps");

void tls_tickets_save(struct tls_tickets *tickets, unsigned char out[TLS_TICKETS_SAVED])
{
    pthread_mutex_lock(&tickets->lock);
    struct saved saved = {
        .change_at = atomic_load(&tickets->change_at),
        .now = tickets->now,
        .before = tickets->before,
    };
    memcpy(saved.state, tickets->state, STATE_BYTES);
    pthread_mutex_unlock(&tickets->lock);
    memcpy(out, &saved, sizeof(saved));
    OPENSSL_cleanse(&saved, sizeof(saved));
}

struct tls_tickets *tls_tickets_restore(const unsigned char in[TLS_TICKETS_SAVED])
{
    struct tls_tickets *tickets = tls_tickets_new();
    struct saved saved;
    if (tickets == NULL)
        return NULL;
    memcpy(&saved, in, sizeof(saved));
    memcpy(tickets->state, saved.state, STATE_BYTES);
    tickets->now = saved.now;
    tickets->before = saved.before;
    if ((int64_t)saved.change_at < atomic_load(&tickets->change_at)) /* new ones change last */
        atomic_store(&tickets->change_at, (int64_t)saved.change_at);
    OPENSSL_cleanse(&saved, sizeof(saved));
    return tickets;
}
