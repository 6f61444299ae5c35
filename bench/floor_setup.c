/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See floor_setup.h. Owns nothing; must never do anything for a byte that is forwarded. One thread.
 */
#include "bench/floor_setup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

_Noreturn void floor_die(const char *what, int error)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(error));
    exit(1);
}

/* "127.0.0.1:8080" only: names and IPv6 would not change what is measured. */
static struct sockaddr_in parse_addr(const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    const char *colon = strrchr(text, ':');
    char host[INET_ADDRSTRLEN] = "";
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;

    if (colon && (size_t)(colon - text) < sizeof(host))
        memcpy(host, text, (size_t)(colon - text));
    if (!colon || end == colon + 1 || *end || port > 65535 ||
        inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        fprintf(stderr, "%s: %s: not an IPv4 address and port, such as 127.0.0.1:8080\n",
                program_invocation_short_name, text);
        exit(2);
    }
    a.sin_port = htons((uint16_t)port);
    return a;
}

static int listen_on(struct sockaddr_in addr, int flags)
{
    socklen_t len = sizeof(addr);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        floor_die("listen", errno);
    printf("listening on port %d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

int floor_begin(int argc, char **argv, int flags, struct sockaddr_in *upstream)
{
    struct rlimit r;

    if (argc != 5 || strcmp(argv[1], "--listen") != 0 || strcmp(argv[3], "--to") != 0) {
        fprintf(stderr, "usage: %s --listen 127.0.0.1:0 --to 127.0.0.1:8080\n",
                program_invocation_short_name);
        exit(2);
    }
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    *upstream = parse_addr(argv[4]);
    return listen_on(parse_addr(argv[2]), flags);
}

void floor_no_delay(int fd)
{
    int one = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
        floor_die("setsockopt", errno);
}
