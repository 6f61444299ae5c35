/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server's context of TLS and a client's, and the two ends that meet with them, over the pair in
 * memory. Certificates are made once for all tests of a program. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_TLS_MEET_H
#define WEIR_TESTS_TLS_MEET_H

#include "tests/unit/cert_maker.h"
#include "tests/unit/tls_ends.h"

struct tls_meeting {
    struct tls_ends e;
    struct tls_server_options so;
    struct tls_client_options co;
    struct tls_server_ctx *server;
    struct tls_client_ctx *client;
    struct tls_trust *ca, *other_ca;
    char *error;
    bool met;
};

extern struct cert_maker tls_meet_maker;

/* Of cmocka: for the group, and for each test. */
int tls_meet_setup_all(void **state);
int tls_meet_teardown_all(void **state);
int tls_meet_setup(void **state);
int tls_meet_teardown(void **state);

/* Certificates by their files' names. The caller's to unref. */
struct tls_certs *tls_meet_certs(const char *const *names, size_t n);

/* Makes a context anew, from f->so and these certificates, or from f->co. */
void tls_meet_server(struct tls_meeting *f, const char *const *names, size_t n);
void tls_meet_client(struct tls_meeting *f);

/* The ends meet, once they have parted from whom they met before. to: where the client thinks that
 * it is, or NULL. */
void tls_meet_at(struct tls_meeting *f, uint32_t endpoint, const struct net_addr *to);
void tls_meet(struct tls_meeting *f);

/* The same, with the contexts that there are, and new ones where there is none. */
void tls_meet_both(struct tls_meeting *f, const char *cert);

void tls_part(struct tls_meeting *f);
void tls_meet_drop(struct tls_meeting *f); /* parts, and forgets both contexts */

/* What each knows of the other. */
const struct tls_info *tls_at_server(struct tls_meeting *f);
const struct tls_info *tls_at_client(struct tls_meeting *f);

/* Both are up; the client has refused the server. */
void tls_meet_up(struct tls_meeting *f);
void tls_meet_refused(struct tls_meeting *f, const char *why);

#endif
