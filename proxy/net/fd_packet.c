/* SPDX-License-Identifier: Apache-2.0 */
/* SCM_RIGHTS, as far as weir needs it. Owns nothing; must never leave a received descriptor behind
 * when it fails. Any thread. */
#include "proxy/net/fd_packet.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int fd_packet_send(int sock, const void *bytes, size_t len, int fd)
{
    union control control = {0};
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    }
    ssize_t sent;
    do
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

static int received_fd(struct msghdr *msg)
{
    int fd = -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(msg);
    if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(head), sizeof(fd));
    return fd;
}

int fd_packet_recv(int sock, char bytes[FD_PACKET_MAX + 1], size_t *len, int *fd)
{
    union control control = {0};
    struct iovec piece = {bytes, FD_PACKET_MAX};
    struct msghdr msg = {.msg_iov = &piece,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_LEN(sizeof(int))}; /* not what pads it: one fits */
    ssize_t got;
    do /* a reset is told once, before what the other side had sent */
        got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    *fd = -1;
    *len = 0;
    if (got < 0)
        return errno;
    *fd = received_fd(&msg);
    *len = (size_t)got;
    bytes[got] = '\0';
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
        return 0;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return msg.msg_flags & MSG_TRUNC ? EMSGSIZE : EMFILE;
}
