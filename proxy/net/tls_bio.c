/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The BIO between OpenSSL and a conn's blocks: never waits, never fails. Called by OpenSSL only;
 * must never call up or down. Reactor's thread.
 */
#include <string.h>

#include <openssl/bio.h>

#include "proxy/net/tls_conn.h"

static int bio_read(BIO *bio, char *to, int len)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    uint32_t n = tls_in_left(t);
    if (n == 0 || len <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n > (uint32_t)len)
        n = (uint32_t)len;
    memcpy(to, t->in->data + t->in_pos, n);
    t->in_pos += n;
    if (t->in_pos == t->in->used)
        block_drop(TAKE(t->in));
    return (int)n;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    for (size_t left = (size_t)len; left > 0;) {
        if (t->own == NULL || block_room(t->own) == 0) {
            block_drop(t->own);
            t->own = block_get(&t->base.reactor->bufs, t->bulk_out);
        }
        char *to = t->own->data + t->own->used;
        size_t n = block_room(t->own) < left ? block_room(t->own) : left;
        memcpy(to, bytes, n);
        t->own->used += (uint32_t)n;
        chain_append(&t->out, t->own, to, n);
        bytes += n;
        left -= n;
    }
    return len;
}

static long bio_ctrl(BIO *bio, int what, long n, void *arg)
{
    (void)bio, (void)n, (void)arg;
    return what == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "weir");
    if (method == NULL)
        return NULL;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}
