/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preload that makes a program's network and memory fail, by the dice of a seed. Owns no state of
 * the program; must never touch a descriptor that is no connection (files, pipes, eventfds and
 * listeners stay as they are), nor tell of a fault that a kernel could not. Any thread; glibc.
 *
 *   LD_PRELOAD=build/tests/faults.so WEIR_FAULTS="seed=42,short=20%,eagain=5%" build/weir run ...
 *
 * WEIR_FAULTS is KEY=VALUE,...; spaces don't count; a chance is a number of percent ("5%", "0.1%").
 *
 *   seed=N                  of the dice: each thread has its own, by the order of first use
 *   short=P                 a read or a write moves fewer bytes than it could: half the time just 1
 *   eagain=P                a read or a write moves none: EAGAIN
 *   eintr=P                 a read, a write or an accept is interrupted: EINTR
 *   reset=P                 a read or a write finds the connection reset. The peer sees it: an RST
 *                           (TCP) or an end (Unix). Then reads say 0 and writes EPIPE
 *   accept_emfile=P, accept_enfile=P, accept_aborted=P          accept fails; nothing is taken
 *   connect_refused=P, connect_timedout=P                       connect fails: on TCP later, as the
 *                           network would tell it; on Unix sockets at once
 *   connect_addrnotavail=P  connect fails at once
 *   fails_after=WORD        once a write that begins with WORD has gone out on a connection, those
 *                           that follow say ECONNRESET, while reading goes on
 *   malloc_nth=N            the Nth allocation since main began fails (malloc, calloc, realloc,
 * ...) malloc_span=N           ... and so do those after it, N in all (1) malloc=P any allocation
 * fails only=accepted|connected only connections that were accepted, or made by connect spare=main
 * nothing but allocations fails in the main thread trace=1                 each failed allocation
 * says on stderr where it was
 *
 * WEIR_FAULTS_REPORT=FILE is a page that is mapped: what struck how often, live and whatever way
 * the process ends. FILE/ is a folder; the page's name is the process's id then. Its words (64
 * bits) come first; their names begin at NAMES_AT, separated by commas. The first words may be
 * written to while the program runs: off (1: nothing fails), malloc_nth, malloc_span, mallocs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define NAMES_AT   2048
#define MAX_FD     65536
#define CERTAIN    1000000000u /* a chance of 100% */

/* What strikes by chance: the key of WEIR_FAULTS, and the word that counts it. */
#define CHANCES(X)                                  \
    X(SHORT, "short")                               \
    X(EAGAIN, "eagain")                             \
    X(EINTR, "eintr")                               \
    X(RESET, "reset")                               \
    X(ACCEPT_EMFILE, "accept_emfile")               \
    X(ACCEPT_ENFILE, "accept_enfile")               \
    X(ACCEPT_ABORTED, "accept_aborted")             \
    X(CONNECT_REFUSED, "connect_refused")           \
    X(CONNECT_TIMEDOUT, "connect_timedout")         \
    X(CONNECT_ADDRNOTAVAIL, "connect_addrnotavail") \
    X(MALLOC, "malloc")

enum chance {
#define X(id, name) CHANCE_##id,
    CHANCES(X)
#undef X
        CHANCE_COUNT
};

enum word {
    WORD_OFF,
    WORD_MALLOC_NTH,
    WORD_MALLOC_SPAN,
    WORD_MALLOCS, /* allocations tried */
    WORD_FREES,
    WORD_CALLS, /* reads, writes, accepts and connects that could have failed */
    WORD_STRUCK,
    WORD_COUNT = WORD_STRUCK + CHANCE_COUNT,
};

#define X(id, name) "," name
static const char word_names[] = "off,malloc_nth,malloc_span,mallocs,frees,calls" CHANCES(X);
#undef X

#define X(id, name) name,
static const char *const chance_names[] = {CHANCES(X)};
#undef X

/* What a descriptor is. */
enum side { SIDE_OTHER, SIDE_ACCEPTED, SIDE_CONNECTED };
#define FD_SIDE    0x03
#define FD_UNIX    0x04
#define FD_TELL    0x08 /* reset; the next call says so */
#define FD_DEAD    0x10 /* reset; it was said */
#define FD_REFUSED 0x20 /* its connect has failed; SO_ERROR says so */
#define FD_TIMEOUT 0x40
#define FD_CUT     0x80 /* a write began with fails_after */

static _Atomic uint64_t own_words[WORD_COUNT]; /* until, or unless, a page is mapped */
static _Atomic uint64_t *words = own_words;
static _Atomic uint8_t fds[MAX_FD];
static uint32_t chances[CHANCE_COUNT]; /* of CERTAIN */
static uint64_t seed = 1;
static enum side only;
static bool spare_main, trace;
static char fails_after[32];
static atomic_bool running; /* main has begun */
static _Atomic uint64_t threads;

/* initial-exec: else the first use in a thread allocates. */
#define PER_THREAD static __thread __attribute__((tls_model("initial-exec")))
PER_THREAD uint64_t dice;
PER_THREAD bool is_main;
PER_THREAD bool inside; /* what we call ourselves does not fail */

/* ---- the functions behind ours ---- */

#define NEXT(name)                 \
    static __typeof__(name) *next; \
    if (next == NULL)              \
    next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* ---- dice ---- */

static uint64_t mix(uint64_t x) /* splitmix64's */
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t roll(void)
{
    if (dice == 0)
        dice = mix(mix(seed) + atomic_fetch_add(&threads, 1) + 1) | 1;
    dice += 0x9e3779b97f4a7c15u;
    return mix(dice);
}

static bool strikes(enum chance what)
{
    if (chances[what] == 0 || roll() % CERTAIN >= chances[what])
        return false;
    atomic_fetch_add_explicit(&words[WORD_STRUCK + what], 1, memory_order_relaxed);
    return true;
}

/* ---- WEIR_FAULTS ---- */

__attribute__((format(printf, 1, 2), noreturn)) static void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("faults: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(2);
}

static uint64_t parse_number(const char *key, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0)
        give_up("%s='%s': expected a number", key, text);
    return n;
}

static uint32_t parse_chance(const char *key, const char *text)
{
    char *end;
    double percent = strtod(text, &end);
    if (*text < '0' || *text > '9' || strcmp(end, "%") != 0 || percent > 100)
        give_up("%s='%s': expected 0%% to 100%%", key, text);
    return (uint32_t)(percent / 100 * CERTAIN);
}

static void parse_pair(const char *key, const char *value)
{
    for (int i = 0; i < CHANCE_COUNT; i++)
        if (strcmp(key, chance_names[i]) == 0) {
            chances[i] = parse_chance(key, value);
            return;
        }
    if (strcmp(key, "seed") == 0)
        seed = parse_number(key, value);
    else if (strcmp(key, "malloc_nth") == 0)
        words[WORD_MALLOC_NTH] = parse_number(key, value);
    else if (strcmp(key, "malloc_span") == 0)
        words[WORD_MALLOC_SPAN] = parse_number(key, value);
    else if (strcmp(key, "fails_after") == 0 && strlen(value) < sizeof(fails_after))
        strcpy(fails_after, value);
    else if (strcmp(key, "trace") == 0)
        trace = parse_number(key, value) != 0;
    else if (strcmp(key, "only") == 0 && strcmp(value, "accepted") == 0)
        only = SIDE_ACCEPTED;
    else if (strcmp(key, "only") == 0 && strcmp(value, "connected") == 0)
        only = SIDE_CONNECTED;
    else if (strcmp(key, "spare") == 0 && strcmp(value, "main") == 0)
        spare_main = true;
    else
        give_up("'%s=%s': the head of tests/faults/faults.c lists what can be said", key, value);
}

static void parse(const char *given)
{
    char text[1024], *rest = text;
    size_t n = 0;
    for (; *given != '\0'; given++)
        if (*given != ' ') {
            if (n == sizeof(text) - 1)
                give_up("WEIR_FAULTS is too long");
            text[n++] = *given;
        }
    text[n] = '\0';
    for (char *pair; (pair = strsep(&rest, ",")) != NULL;) {
        char *value = strchr(pair, '=');
        if (*pair == '\0')
            continue;
        if (value == NULL)
            give_up("'%s': expected KEY=VALUE", pair);
        *value++ = '\0';
        parse_pair(pair, value);
    }
}

/* ---- the page ---- */

static void map_page(const char *where)
{
    char path[1024];
    size_t len = strlen(where);
    bool folder = len > 0 && where[len - 1] == '/';
    snprintf(path, sizeof(path), folder ? "%s%ld" : "%s", where, (long)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, PAGE_BYTES) != 0)
        give_up("WEIR_FAULTS_REPORT: %s: %s", path, strerror(errno));
    char *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        give_up("WEIR_FAULTS_REPORT: %s: %s", path, strerror(errno));
    close(fd);
    _Static_assert(sizeof(own_words) <= NAMES_AT && NAMES_AT + sizeof(word_names) <= PAGE_BYTES,
                   "words and names fit");
    memcpy(page, own_words, sizeof(own_words));
    memcpy(page + NAMES_AT, word_names, sizeof(word_names));
    words = (_Atomic uint64_t *)(void *)page;
}

__attribute__((constructor)) static void faults_init(void)
{
    const char *given = getenv("WEIR_FAULTS"), *where = getenv("WEIR_FAULTS_REPORT");
    inside = true;
    is_main = true;
    words[WORD_MALLOC_SPAN] = 1;
    if (given != NULL)
        parse(given);
    if (where != NULL)
        map_page(where);
    void *frames[1];
    if (trace)
        backtrace(frames, 1); /* loads what it needs */
    inside = false;
}

typedef int main_fn(int, char **, char **);
typedef int start_fn(main_fn *, int, char **, main_fn *, void (*)(void), void (*)(void), void *);
start_fn __libc_start_main;
static main_fn *real_main;

static int our_main(int argc, char **argv, char **env)
{
    words[WORD_MALLOCS] = words[WORD_FREES] = 0;
    running = true;
    int status = real_main(argc, argv, env);
    running = false;
    return status;
}

int __libc_start_main(main_fn *program, int argc, char **argv, main_fn *init, void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    start_fn *next = (start_fn *)dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = program;
    return next(our_main, argc, argv, init, fini, rtld_fini, stack_end);
}

/* ---- descriptors ---- */

static void fd_becomes(int fd, enum side side)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    if (fd < 0 || fd >= MAX_FD)
        return;
    uint8_t is_unix = getsockname(fd, (struct sockaddr *)&ss, &len) == 0 && ss.ss_family == AF_UNIX;
    fds[fd] = (uint8_t)(side | (is_unix ? FD_UNIX : 0));
}

static void fd_closed(int fd)
{
    if (fd >= 0 && fd < MAX_FD)
        fds[fd] = SIDE_OTHER;
}

static bool on(void)
{
    return running && !inside && words[WORD_OFF] == 0 && !(spare_main && is_main);
}

/* The peer sees it; what had not been read or sent is gone. */
static void reset(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    NEXT(connect);
    if (fds[fd] & FD_UNIX)
        shutdown(fd, SHUT_RDWR);
    else
        next(fd, &none, sizeof(none));
    fds[fd] |= FD_TELL;
}

enum what { GOES_ON, ENDS };

/* What becomes of a read or a write of *n bytes: it goes on with *n, or ends with *result. */
static enum what move(int fd, bool reads, size_t *n, ssize_t *result)
{
    uint8_t state = fd >= 0 && fd < MAX_FD ? fds[fd] : SIDE_OTHER;
    if ((state & FD_SIDE) == SIDE_OTHER)
        return GOES_ON;
    *result = -1;
    if (state & FD_DEAD) {
        errno = EPIPE;
        *result = reads ? 0 : -1;
        return ENDS;
    }
    if ((state & FD_CUT) && !reads) {
        errno = ECONNRESET;
        return ENDS;
    }
    if (on() && !(state & FD_TELL) && (only == 0 || only == (state & FD_SIDE)) && *n > 0) {
        atomic_fetch_add_explicit(&words[WORD_CALLS], 1, memory_order_relaxed);
        if (strikes(CHANCE_RESET)) {
            reset(fd);
            state |= FD_TELL;
        } else if (strikes(CHANCE_EINTR)) {
            errno = EINTR;
            return ENDS;
        } else if (strikes(CHANCE_EAGAIN)) {
            errno = EAGAIN;
            return ENDS;
        } else if (*n > 1 && strikes(CHANCE_SHORT)) {
            *n = roll() & 1 ? 1 : 1 + roll() % (*n - 1);
        }
    }
    if (state & FD_TELL) {
        fds[fd] = (uint8_t)((state & ~FD_TELL) | FD_DEAD);
        errno = ECONNRESET;
        return ENDS;
    }
    return GOES_ON;
}

/* A write of bytes that begin here is about to go out. */
static void begins(int fd, const void *bytes, size_t n)
{
    size_t want = strlen(fails_after);
    if (want > 0 && n >= want && fd >= 0 && fd < MAX_FD && (fds[fd] & FD_SIDE) != SIDE_OTHER &&
        memcmp(bytes, fails_after, want) == 0)
        fds[fd] |= FD_CUT;
}

static size_t vector_bytes(const struct iovec *v, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += v[i].iov_len;
    return n;
}

/* The first n bytes of at most 1,024 vectors (more than the kernel takes): how many they are. */
static size_t vector_cut(struct iovec *to, const struct iovec *v, size_t count, size_t n)
{
    size_t i = 0;
    for (; i < count && i < 1024 && n > 0; i++) {
        to[i] = v[i];
        if (to[i].iov_len > n)
            to[i].iov_len = n;
        n -= to[i].iov_len;
    }
    return i;
}

/* ---- reading and writing ---- */

#define MOVE(fd, reads, n)                       \
    ssize_t result;                              \
    size_t left = (n);                           \
    if (move(fd, reads, &left, &result) == ENDS) \
    return result

ssize_t read(int fd, void *to, size_t n)
{
    NEXT(read);
    MOVE(fd, true, n);
    return next(fd, to, left);
}

ssize_t write(int fd, const void *from, size_t n)
{
    NEXT(write);
    MOVE(fd, false, n);
    begins(fd, from, n);
    return next(fd, from, left);
}

ssize_t recv(int fd, void *to, size_t n, int flags)
{
    NEXT(recv);
    /* A look moves nothing, and does not wait: it can't be interrupted, and it sees what is there.
     */
    if ((flags & MSG_PEEK) && fd >= 0 && fd < MAX_FD && !(fds[fd] & (FD_TELL | FD_DEAD)))
        return next(fd, to, n, flags);
    MOVE(fd, true, n);
    return next(fd, to, left, flags);
}

ssize_t send(int fd, const void *from, size_t n, int flags)
{
    NEXT(send);
    MOVE(fd, false, n);
    begins(fd, from, n);
    return next(fd, from, left, flags);
}

ssize_t readv(int fd, const struct iovec *v, int count)
{
    struct iovec cut[1024];
    NEXT(readv);
    size_t all = vector_bytes(v, (size_t)count);
    MOVE(fd, true, all);
    return left == all ? next(fd, v, count)
                       : next(fd, cut, (int)vector_cut(cut, v, (size_t)count, left));
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
    struct iovec cut[1024];
    NEXT(writev);
    size_t all = vector_bytes(v, (size_t)count);
    MOVE(fd, false, all);
    if (count > 0)
        begins(fd, v[0].iov_base, v[0].iov_len);
    return left == all ? next(fd, v, count)
                       : next(fd, cut, (int)vector_cut(cut, v, (size_t)count, left));
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct iovec cut[1024], *own = msg->msg_iov;
    size_t count = msg->msg_iovlen;
    NEXT(recvmsg);
    MOVE(fd, true, vector_bytes(own, count));
    msg->msg_iovlen = vector_cut(cut, own, count, left);
    msg->msg_iov = cut;
    result = next(fd, msg, flags);
    msg->msg_iov = own;
    msg->msg_iovlen = count;
    return result;
}

ssize_t sendmsg(int fd, const struct msghdr *given, int flags)
{
    struct iovec cut[1024];
    struct msghdr msg = *given;
    NEXT(sendmsg);
    MOVE(fd, false, vector_bytes(given->msg_iov, given->msg_iovlen));
    msg.msg_iovlen = vector_cut(cut, given->msg_iov, given->msg_iovlen, left);
    msg.msg_iov = cut;
    return next(fd, &msg, flags);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
    NEXT(splice);
    size_t left = n;
    ssize_t result;
    if (move(from, true, &left, &result) == ENDS || move(to, false, &left, &result) == ENDS)
        return result;
    return next(from, from_at, to, to_at, left, flags);
}

/* ---- connections ---- */

static bool accept_fails(void)
{
    static const int errors[] = {EMFILE, ENFILE, ECONNABORTED};
    if (!on() || only == SIDE_CONNECTED)
        return false;
    atomic_fetch_add_explicit(&words[WORD_CALLS], 1, memory_order_relaxed);
    for (int i = 0; i < 3; i++)
        if (strikes((enum chance)(CHANCE_ACCEPT_EMFILE + i))) {
            errno = errors[i];
            return true;
        }
    if (strikes(CHANCE_EINTR)) {
        errno = EINTR;
        return true;
    }
    return false;
}

int accept4(int fd, __SOCKADDR_ARG peer, socklen_t *len, int flags)
{
    NEXT(accept4);
    if (accept_fails())
        return -1;
    int got = next(fd, peer, len, flags);
    if (got >= 0)
        fd_becomes(got, SIDE_ACCEPTED);
    return got;
}

int accept(int fd, __SOCKADDR_ARG peer, socklen_t *len)
{
    return accept4(fd, peer, len, 0);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t len)
{
    const struct sockaddr *address = *(const struct sockaddr *const *)(const void *)&to;
    NEXT(connect);
    if (fd < 0 || fd >= MAX_FD || !on() || only == SIDE_ACCEPTED) {
        fd_becomes(fd, SIDE_CONNECTED);
        return next(fd, to, len);
    }
    fd_becomes(fd, SIDE_CONNECTED);
    atomic_fetch_add_explicit(&words[WORD_CALLS], 1, memory_order_relaxed);
    bool is_unix = address->sa_family == AF_UNIX;
    if (strikes(CHANCE_CONNECT_ADDRNOTAVAIL)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    if (strikes(CHANCE_CONNECT_REFUSED)) {
        errno = is_unix ? ECONNREFUSED : EINPROGRESS;
        fds[fd] |= FD_REFUSED;
        return -1;
    }
    if (!is_unix && strikes(CHANCE_CONNECT_TIMEDOUT)) {
        errno = EINPROGRESS;
        fds[fd] |= FD_TIMEOUT;
        return -1;
    }
    return next(fd, to, len);
}

/* A socket that was not connected is ready for writing at once; whoever waits for its connect asks
 * here how that went. */
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
    NEXT(getsockopt);
    if (level == SOL_SOCKET && name == SO_ERROR && fd >= 0 && fd < MAX_FD &&
        (fds[fd] & (FD_REFUSED | FD_TIMEOUT))) {
        *(int *)value = fds[fd] & FD_REFUSED ? ECONNREFUSED : ETIMEDOUT;
        return 0;
    }
    return next(fd, level, name, value, len);
}

int close(int fd)
{
    NEXT(close);
    fd_closed(fd);
    return next(fd);
}

/* libuv closes by its number. */
long syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    NEXT(syscall);
    if (number == SYS_close)
        fd_closed((int)a[0]);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- memory ---- */

/* Behind ours is the C library's allocator, or a sanitizer's: found by dlsym, which may itself
 * allocate. Until it is known, memory comes from here and is not given back. */
static _Alignas(16) char early[16384];
static size_t early_used;

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    void (*free)(void *);
} real;

static bool is_early(const void *p)
{
    return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

static void *early_get(size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (n > sizeof(early) - early_used)
        _exit(2);
    early_used += n;
    return early + early_used - n;
}

/* False: it is being looked for. */
static bool found(void)
{
    static bool looking; /* before there are threads */
    if (real.free != NULL)
        return true;
    if (looking)
        return false;
    looking = true;
    real.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    real.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    real.memalign = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "memalign");
    real.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    return true;
}

static void say_where(uint64_t n)
{
    void *frames[32];
    char line[64];
    inside = true;
    int len =
        snprintf(line, sizeof(line), "faults: allocation %llu fails\n", (unsigned long long)n);
    NEXT(write);
    next(2, line, (size_t)len);
    backtrace_symbols_fd(frames + 2, backtrace(frames, 32) - 2, 2);
    inside = false;
}

/* Counts an allocation; true: it fails. */
static bool fails(void)
{
    if (inside)
        return false;
    uint64_t n = atomic_fetch_add_explicit(&words[WORD_MALLOCS], 1, memory_order_relaxed) + 1;
    uint64_t nth = words[WORD_MALLOC_NTH];
    if (!running || words[WORD_OFF] != 0)
        return false;
    bool hit = nth != 0 && n >= nth && n - nth < words[WORD_MALLOC_SPAN];
    if (hit)
        atomic_fetch_add_explicit(&words[WORD_STRUCK + CHANCE_MALLOC], 1, memory_order_relaxed);
    else if (!strikes(CHANCE_MALLOC))
        return false;
    if (trace)
        say_where(n);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    if (!found())
        return early_get(size);
    return fails() ? NULL : real.malloc(size);
}

void *calloc(size_t count, size_t size)
{
    if (!found())
        return early_get(count * size); /* static memory is zero */
    return fails() ? NULL : real.calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    if (!found() || is_early(old)) {
        char *p = malloc(size);
        size_t most = (size_t)(early + sizeof(early) - (char *)old);
        if (p != NULL && old != NULL)
            memcpy(p, old, size < most ? size : most);
        return p;
    }
    return fails() ? NULL : real.realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t all;
    if (__builtin_mul_overflow(count, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, all);
}

void *memalign(size_t align, size_t size)
{
    found();
    return fails() ? NULL : real.memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    int saved = errno;
    void *p = memalign(align, size);
    errno = saved;
    if (p == NULL)
        return ENOMEM;
    *out = p;
    return 0;
}

void free(void *p)
{
    if (p == NULL || is_early(p) || !found())
        return;
    if (!inside)
        atomic_fetch_add_explicit(&words[WORD_FREES], 1, memory_order_relaxed);
    real.free(p);
}
