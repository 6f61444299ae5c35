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
 * written to while the program runs: off (1: nothing fails), malloc_nth, malloc_span, malloc_limit,
 * mallocs.
 */
#include "tests/faults/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define NAMES_AT   2048
#define CERTAIN    1000000000u /* a chance of 100% */

#define X(id, name) "," name
static const char word_names[] =
    "off,malloc_nth,malloc_span,malloc_limit,mallocs,frees,live,calls" CHANCES(X);
#undef X

#define X(id, name) name,
static const char *const chance_names[] = {CHANCES(X)};
#undef X

static _Atomic uint64_t own_words[WORD_COUNT]; /* until, or unless, a page is mapped */
_Atomic uint64_t *words = own_words;
struct faults faults = {.seed = 1};
PER_THREAD bool is_main, inside;
static PER_THREAD uint64_t dice;
static _Atomic uint64_t threads;

/* ---- dice ---- */

static uint64_t mix(uint64_t x) /* splitmix64's */
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t roll(void)
{
    if (dice == 0)
        dice = mix(mix(faults.seed) + atomic_fetch_add(&threads, 1) + 1) | 1;
    dice += 0x9e3779b97f4a7c15u;
    return mix(dice);
}

bool strikes(enum chance what)
{
    if (faults.chances[what] == 0 || roll() % CERTAIN >= faults.chances[what])
        return false;
    word_add((enum word)(WORD_STRUCK + what), 1);
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
            faults.chances[i] = parse_chance(key, value);
            return;
        }
    if (strcmp(key, "seed") == 0)
        faults.seed = parse_number(key, value);
    else if (strcmp(key, "malloc_nth") == 0)
        words[WORD_MALLOC_NTH] = parse_number(key, value);
    else if (strcmp(key, "malloc_span") == 0)
        words[WORD_MALLOC_SPAN] = parse_number(key, value);
    else if (strcmp(key, "fails_after") == 0 && strlen(value) < sizeof(faults.fails_after))
        memcpy(faults.fails_after, value, strlen(value) + 1);
    else if (strcmp(key, "malloc_limit") == 0)
        words[WORD_MALLOC_LIMIT] = parse_number(key, value);
    else if (strcmp(key, "trace") == 0)
        faults.trace = parse_number(key, value) != 0;
    else if (strcmp(key, "only") == 0 && strcmp(value, "accepted") == 0)
        faults.only = SIDE_ACCEPTED;
    else if (strcmp(key, "only") == 0 && strcmp(value, "connected") == 0)
        faults.only = SIDE_CONNECTED;
    else if (strcmp(key, "spare") == 0 && strcmp(value, "main") == 0)
        faults.spare_main = true;
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
    inside = false;
}

typedef int main_fn(int, char **, char **);
typedef int start_fn(main_fn *, int, char **, main_fn *, void (*)(void), void (*)(void), void *);
start_fn __libc_start_main;
static main_fn *real_main;

static int our_main(int argc, char **argv, char **env)
{
    words[WORD_MALLOCS] = words[WORD_FREES] = 0;
    faults.running = true;
    int status = real_main(argc, argv, env);
    faults.running = false;
    return status;
}

int __libc_start_main(main_fn *program, int argc, char **argv, main_fn *init, void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    start_fn *next = (start_fn *)dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = program;
    return next(our_main, argc, argv, init, fini, rtld_fini, stack_end);
}
