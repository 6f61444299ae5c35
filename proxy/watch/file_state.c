/* SPDX-License-Identifier: Apache-2.0 */
/* The state of files as a number. Owns nothing; any thread. */
#include "proxy/watch/file_state.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/base/check.h"

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = mix(hash, (unsigned char)*text);
    return hash;
}

static uint64_t state_of(const char *path, struct stat *st)
{
    uint64_t hash = mix_text(1, path);
    if (stat(path, st) != 0) {
        st->st_mode = 0;
        return mix(hash, 2);
    }
    const uint64_t facts[] = {st->st_dev,
                              st->st_ino,
                              (uint64_t)st->st_size,
                              (uint64_t)st->st_mtim.tv_sec,
                              (uint64_t)st->st_mtim.tv_nsec,
                              (uint64_t)st->st_ctim.tv_sec,
                              (uint64_t)st->st_ctim.tv_nsec};
    for (size_t i = 0; i < ARRAY_LEN(facts); i++)
        hash = mix(hash, facts[i]);
    return hash;
}

static bool may_be_cert(const char *name)
{
    static const char *const ends[] = {".pem", ".crt", ".key"};
    size_t len = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (name[0] != '.' && len > 4 && strcmp(name + len - 4, ends[i]) == 0)
            return true;
    return false;
}

/* The sum does not depend on the order that the entries come in. */
static uint64_t state_of_folder(const char *path)
{
    uint64_t sum = 0;
    struct dirent *entry;
    DIR *dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char file[PATH_MAX];
        struct stat st;
        int n = snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        if (may_be_cert(entry->d_name) && n > 0 && (size_t)n < sizeof(file))
            sum += state_of(file, &st);
    }
    if (dir != NULL)
        closedir(dir);
    return sum;
}

uint64_t file_state(const char *path)
{
    struct stat st;
    uint64_t state = state_of(path, &st);
    return S_ISDIR(st.st_mode) ? state_of_folder(path) : state;
}

uint64_t file_state_mix(uint64_t states, uint64_t state)
{
    return mix(states, state);
}
