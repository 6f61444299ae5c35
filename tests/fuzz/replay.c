/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target over files and folders of inputs, with any compiler: a corpus is then a test,
 * and a finding is reproduced. Prints how many inputs it ran; ends with 1 if there was none, and
 * with a crash if there is one. One thread.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned ran;

static bool run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    size_t size = 0, cap = 4096, n;
    uint8_t *data = malloc(cap);
    CHECK(data != NULL);
    while ((n = fread(data + size, 1, cap - size, f)) > 0) {
        size += n;
        if (size == cap)
            data = realloc(data, cap *= 2);
        CHECK(data != NULL);
    }
    fclose(f);
    /* An exact copy, so that a read behind the end is seen. */
    uint8_t *exact = malloc(size + !size);
    CHECK(exact != NULL);
    memcpy(exact, data, size);
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    ran++;
    return true;
}

static bool run_path(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return run_file(path);
    struct dirent *entry;
    bool ok = true;
    while ((entry = readdir(dir)) != NULL) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        fprintf(stderr, "%s\n", name); /* the last one is the one that crashed */
        ok &= run_file(name);
    }
    closedir(dir);
    return ok;
}

int main(int argc, char **argv)
{
    bool ok = true;
    for (int i = 1; i < argc; i++)
        ok &= run_path(argv[i]);
    printf("%u inputs\n", ran);
    return ok && ran > 0 ? 0 : 1;
}
