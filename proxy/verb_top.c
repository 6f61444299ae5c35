/* SPDX-License-Identifier: Apache-2.0 */
/* weir top: the admin's page of text, again and again. Owns the terminal while it runs. The only
 * thread. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "proxy/verb.h"

#define WITHIN_MS 5000
#define EVERY_MS  2000
#define CLEAR     "\033[H\033[2J"

/* As many lines and columns of it as there are on the terminal. */
static void show(const char *text)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    fputs(CLEAR, stdout);
    for (unsigned row = 0; *text != '\0' && row + 1 < size.ws_row; row++) {
        int len = (int)strcspn(text, "\n");
        printf("%.*s\n", len < size.ws_col ? len : size.ws_col, text);
        text += len + (text[len] == '\n');
    }
    fflush(stdout);
}

static int look(const struct verb *verb, struct verb_admin *admin, bool once)
{
    struct admin_answer answer;
    if (!verb_ask(verb, admin, "GET", "/top", WITHIN_MS, &answer))
        return EXIT_NO;
    int status = answer.status == 200 ? 0 : EXIT_NO;
    if (status != 0)
        fprintf(stderr, "%s", answer.body);
    else if (once)
        fputs(answer.body, stdout);
    else
        show(answer.body);
    admin_answer_free(&answer);
    return status;
}

int verb_top(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {VERB_ADMIN_OPTIONS,
                                            {"every", required_argument, NULL, 'e'},
                                            {"once", no_argument, NULL, 'o'},
                                            {0}};
    struct verb_admin admin = {0};
    uint64_t every = EVERY_MS;
    bool once = !isatty(STDOUT_FILENO);
    int c, status;
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 'o')
            once = true;
        else if (c == 'e' && !verb_duration(optarg, &every))
            return verb_usage(verb, "--every %s: expected a time such as 2s", optarg);
        else if (c != 'e' && !verb_admin_option(&admin, c, optarg))
            return verb_bad_option(verb, c, argv);
    }
    if (optind < argc)
        return verb_usage(verb, "unexpected argument \"%s\"", argv[optind]);
    const struct timespec pause = {(time_t)(every / 1000), (long)(every % 1000) * 1000000};
    while ((status = look(verb, &admin, once)) == 0 && !once)
        nanosleep(&pause, NULL);
    verb_admin_fini(&admin);
    return status;
}
