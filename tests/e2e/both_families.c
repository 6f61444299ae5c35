/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preload to whose process the host "both.localhost" has ::1 and 127.0.0.1, in this order, as
 * "localhost" has on most machines; whatever this one's hosts file says. "stuck.localhost" is a
 * name whose server never answers. Built and loaded by test_both_families.py; glibc, whose freeaddrinfo frees what is joined here piece by piece.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int resolve_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    resolve_fn *real = (resolve_fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    struct addrinfo *second;
    while (host != NULL && strcmp(host, "stuck.localhost") == 0)
        pause();
    if (host == NULL || strcmp(host, "both.localhost") != 0)
        return real(host, service, hints, found);
    int err = real("::1", service, hints, found);
    if (err == 0)
        err = real("127.0.0.1", service, hints, &second);
    if (err == 0)
        (*found)->ai_next = second;
    return err;
}
