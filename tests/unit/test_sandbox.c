/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox, entered by children, which then try what they should not be able to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/sandbox.h"
#include "proxy/seccomp.h"

struct fixture {
    char dir[64], in[96], out[96];
};

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    strcpy(f->dir, "/tmp/weir-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->in, sizeof(f->in), "%s/in", f->dir);
    snprintf(f->out, sizeof(f->out), "%s/out", f->dir);
    assert_int_equal(mkdir(f->in, 0700), 0);
    assert_int_equal(mkdir(f->out, 0700), 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/file", f->in);
    make_file(path);
    snprintf(path, sizeof(path), "%s/file", f->out);
    make_file(path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the tests' own words */
    free(f);
    return 0;
}

/* The child says by its status whether what it tried ended as it should. */
static void in_child(const struct fixture *f, bool (*tries)(const struct fixture *f))
{
    pid_t pid = fork();
    int status;
    if (pid == 0)
        _exit(tries(f) ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void enter(const struct fixture *f)
{
    char path[128];
    struct sandbox *s = sandbox_new();
    snprintf(path, sizeof(path), "%s/file", f->in);
    sandbox_allow(s, path, SANDBOX_WRITE);
    sandbox_allow(s, "/nonexistent/file", SANDBOX_READ);
    sandbox_enter(s);
    sandbox_free(s);
}

/* 0, or why not. */
static int try_open(const char *folder, const char *name, int flags)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, flags, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

#define EXPECT(what)                                                  \
    do {                                                              \
        if (!(what)) {                                                \
            fprintf(stderr, "not so: %s (errno %d)\n", #what, errno); \
            return false;                                             \
        }                                                             \
    } while (0)

static bool tries_files(const struct fixture *f)
{
    enter(f);
    EXPECT(try_open(f->in, "file", O_RDWR | O_TRUNC) == 0);
    EXPECT(try_open(f->in, "new", O_WRONLY | O_CREAT) == 0); /* as a certificate's successor is */
    EXPECT(try_open(f->out, "file", O_RDONLY) == EACCES);
    EXPECT(try_open(f->out, "new", O_WRONLY | O_CREAT) == EACCES);
    EXPECT(try_open("/etc", "shadow", O_RDONLY) == EACCES);
    EXPECT(try_open("/etc", "passwd", O_RDONLY) == EACCES);
    return true;
}

static void files_are_those_of_the_folders_that_were_named(void **state)
{
    if (!sandbox_can_wall())
        skip();
    in_child(*state, tries_files);
}

static void *nothing(void *arg)
{
    return arg;
}

static int pipe_of_own(void)
{
    int ends[2];
    return pipe(ends) == 0 ? ends[0] : -1;
}

static bool tries_calls(const struct fixture *f)
{
    pthread_t thread;
    (void)f;
    if (seccomp_enter() != 0)
        return false;
    EXPECT(execl("/bin/true", "true", NULL) == -1 && errno == EPERM);
    EXPECT(fork() == -1 && errno == EPERM);
    EXPECT(ptrace(PTRACE_TRACEME, 0, 0, 0) == -1 && errno == EPERM);
    EXPECT(syscall(SYS_setuid, 0) == -1 && errno == EPERM);
    EXPECT(chroot("/") == -1 && errno == EPERM);
    EXPECT(kill(getpid(), SIGKILL) == -1 && errno == EPERM);
    EXPECT(syscall(SYS_tgkill, getppid(), getppid(), 0) == -1 && errno == EPERM);
    EXPECT(syscall(SYS_tgkill, getpid(), getpid(), 0) == 0);
    EXPECT(ioctl(0, TIOCSTI, "x") == -1 && errno == EPERM);
    EXPECT(ioctl(pipe_of_own(), FIONBIO, &(int){1}) == 0);
    EXPECT(socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == EAFNOSUPPORT);
    EXPECT(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
    EXPECT(syscall(100000) == -1 && errno == ENOSYS);
    EXPECT(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    EXPECT(fd >= 0 || errno == EAFNOSUPPORT);
    EXPECT(open("/dev/null", O_RDONLY) >= 0);
    return true;
}

static void calls_are_those_that_weir_makes(void **state)
{
    if (seccomp_flaw() != NULL)
        skip();
    in_child(*state, tries_calls);
}

static bool tries_as_worker(const struct fixture *f)
{
    (void)f;
    if (seccomp_enter() != 0 || seccomp_enter_worker() != 0)
        return false;
    EXPECT(open("/dev/null", O_RDONLY) == -1 && errno == EPERM);
    EXPECT(unlink("/nonexistent") == -1 && errno == EPERM);
    EXPECT(execl("/bin/true", "true", NULL) == -1 && errno == EPERM);
    EXPECT(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
               MAP_FAILED &&
           errno == EPERM);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    EXPECT(mprotect(page, 4096, PROT_READ | PROT_EXEC) == -1 && errno == EPERM);
    EXPECT(mprotect(page, 4096, PROT_READ) == 0);
    EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    return true;
}

static void a_worker_opens_no_file_and_makes_no_code(void **state)
{
    if (seccomp_flaw() != NULL)
        skip();
    in_child(*state, tries_as_worker);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_are_those_of_the_folders_that_were_named),
        TEST(calls_are_those_that_weir_makes),
        TEST(a_worker_opens_no_file_and_makes_no_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
