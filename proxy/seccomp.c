/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filters, as programs of the kernel's classic BPF. A call that is in no list fails with EPERM,
 * and one that is newer than the lists with ENOSYS, so that libc does without: a call that a later
 * libc makes must not end a proxy that serves. Owns nothing. Any thread.
 */
#include "proxy/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/base/check.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif

#define NEWER 451 /* numbers from here on are of kernels that this list knows nothing of */

/* What every thread does that serves: sockets it has or makes, memory, time, its own end. The first
 * are the most frequent, for kernels that walk the program each time. */
static const int of_workers[] = {
    SYS_recvfrom,
    SYS_sendto,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_sendmsg,
    SYS_accept4,
    SYS_close,
    SYS_read,
    SYS_write,
    SYS_writev,
    SYS_readv,
    SYS_recvmsg,
    SYS_splice,
    SYS_futex,
    SYS_connect,
    SYS_shutdown,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_pipe2,
    SYS_fcntl,
    SYS_clock_gettime,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_getrandom,
    SYS_gettid,
    SYS_getpid,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sysinfo,
    SYS_gettimeofday,
    SYS_ppoll,
    SYS_eventfd2,
    SYS_epoll_create1,
    SYS_dup,
    SYS_dup3,
    SYS_fstat,
    SYS_lseek,
    SYS_rseq,
    SYS_set_robust_list,
    SYS_prlimit64,
    SYS_getrusage,
    SYS_membarrier,
#ifdef __x86_64__
    SYS_epoll_wait,
    SYS_poll,
    SYS_time,
    SYS_dup2,
#endif
};

/* ... and what the control thread and its helpers do besides: files, names, threads, the log. */
static const int of_control[] = {
    SYS_openat,
    SYS_newfstatat,
    SYS_statx,
    SYS_getdents64,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_mkdirat,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_flock,
    SYS_getcwd,
    SYS_umask,
    SYS_bind,
    SYS_listen,
    SYS_socketpair,
    SYS_accept,
    SYS_sendmmsg,
    SYS_recvmmsg,
    SYS_inotify_init1,
    SYS_inotify_add_watch,
    SYS_inotify_rm_watch,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_set_tid_address,
    SYS_prctl,
    SYS_seccomp,
    SYS_capset,
    SYS_uname,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getppid,
    SYS_sched_setaffinity,
    SYS_pselect6,
    SYS_clock_getres,
    SYS_msync,
    SYS_times,
#ifdef __x86_64__
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_unlink,
    SYS_rename,
    SYS_chmod,
    SYS_mkdir,
    SYS_getdents,
    SYS_pipe,
    SYS_select,
    SYS_inotify_init,
    SYS_eventfd,
    SYS_arch_prctl,
    SYS_alarm,
#endif
};

/* ---- programs ---- */

#define MAX_STEPS 512

struct program {
    struct sock_filter steps[MAX_STEPS];
    unsigned short n;
};

static void step(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    CHECK(p->n < MAX_STEPS);
    p->steps[p->n++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *p, size_t offset)
{
    step(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void answer(struct program *p, uint32_t with)
{
    step(p, BPF_RET | BPF_K, with, 0, 0);
}

#define ALLOW       SECCOMP_RET_ALLOW
#define FAIL(error) (SECCOMP_RET_ERRNO | (error))

/* The low half: all that is looked at are small numbers, and the kernel takes no more either. */
static void load_argument(struct program *p, unsigned i)
{
    size_t low = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;
    load(p, offsetof(struct seccomp_data, args) + i * sizeof(uint64_t) + low);
}

/* Calls of this number get this answer. */
static void add_call(struct program *p, int call, uint32_t with)
{
    step(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1);
    answer(p, with);
}

/* ... if an argument is one of these, and fail if not. */
static void add_choice(struct program *p, int call, unsigned argument, const uint32_t *values,
                       unsigned n, int error)
{
    step(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, (uint8_t)(2 * n + 2));
    load_argument(p, argument);
    for (unsigned i = 0; i < n; i++)
        add_call(p, (int)values[i], ALLOW);
    answer(p, FAIL(error));
}

/* ... if an argument has (or has not) one of these bits. */
static void add_bits(struct program *p, int call, unsigned argument, uint32_t bits, bool has)
{
    step(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4);
    load_argument(p, argument);
    step(p, BPF_JMP | BPF_JSET | BPF_K, bits, has ? 0 : 1, has ? 1 : 0);
    answer(p, ALLOW);
    answer(p, FAIL(EPERM));
}

static void begin(struct program *p)
{
    p->n = 0;
    load(p, offsetof(struct seccomp_data, arch));
    step(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    answer(p, SECCOMP_RET_KILL_PROCESS); /* the numbers would be other calls */
    load(p, offsetof(struct seccomp_data, nr));
}

static void add_calls(struct program *p, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add_call(p, calls[i], ALLOW);
}

/* No packets, no keys of the kernel's, no virtual machines. Names are looked up by way of netlink.
 */
static void add_sockets(struct program *p)
{
    static const uint32_t families[] = {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK};
    add_choice(p, SYS_socket, 0, families, ARRAY_LEN(families), EAFNOSUPPORT);
}

/* Signals are for its own threads (abort), and nothing is typed into the terminal that weir may
 * have been started from, which is a shell's, too. */
static void add_narrowed(struct program *p)
{
    const uint32_t own[] = {(uint32_t)getpid()};
    add_choice(p, SYS_tgkill, 0, own, ARRAY_LEN(own), EPERM);
    step(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 5);
    load_argument(p, 1);
    step(p, BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 1, 0);
    step(p, BPF_JMP | BPF_JEQ | BPF_K, TIOCLINUX, 0, 1);
    answer(p, FAIL(EPERM));
    answer(p, ALLOW);
}

static void end(struct program *p)
{
    step(p, BPF_JMP | BPF_JGE | BPF_K, NEWER, 0, 1);
    answer(p, FAIL(ENOSYS));
    answer(p, FAIL(EPERM));
}

/* Its threads may be made, but no process; a library may be loaded (of names, by libc). A reload
 * that comes just when a new process has taken over is passed on to it. */
static void write_control(struct program *p)
{
    static const uint32_t hangup[] = {SIGHUP};
    begin(p);
    add_calls(p, of_workers, ARRAY_LEN(of_workers));
    add_calls(p, of_control, ARRAY_LEN(of_control));
    add_call(p, SYS_mmap, ALLOW);
    add_call(p, SYS_mprotect, ALLOW);
    add_sockets(p);
    add_narrowed(p);
    add_bits(p, SYS_clone, 0, CLONE_THREAD, true);
    add_choice(p, SYS_kill, 1, hangup, ARRAY_LEN(hangup), EPERM);
    add_call(p, SYS_clone3, FAIL(ENOSYS)); /* its flags are in memory: libc takes clone */
#ifdef SYS_io_uring_setup
    add_call(p, SYS_io_uring_setup, FAIL(ENOSYS));
#endif
    end(p);
}

/* Nothing new becomes code. */
static void write_worker(struct program *p)
{
    begin(p);
    add_calls(p, of_workers, ARRAY_LEN(of_workers));
    add_bits(p, SYS_mmap, 2, PROT_EXEC, false);
    add_bits(p, SYS_mprotect, 2, PROT_EXEC, false);
    add_sockets(p);
    add_narrowed(p);
    end(p);
}

/* ---- entering ---- */

const char *seccomp_flaw(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    if (SECCOMP_SANITIZED)
        return "a sanitizer makes calls of its own";
    if (ARCH == 0)
        return "the calls of this architecture are not listed";
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0)
        return "this kernel has none";
    return NULL;
}

/* Nobody else's code runs here that could be kept from guessing: without the flag some kernels make
 * every thread that has a filter slower. */
static int enter(struct program *p)
{
    struct sock_fprog prog = {.len = p->n, .filter = p->steps};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) == 0
               ? 0
               : errno;
}

int seccomp_enter(void)
{
    struct program p;
    write_control(&p);
    return enter(&p);
}

int seccomp_enter_worker(void)
{
    struct program p;
    write_worker(&p);
    return enter(&p);
}
