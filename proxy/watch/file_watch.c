/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching files. Owns the watches of directories and the timers; must never have files read that
 * are still being written. The loop's thread.
 */
#include "proxy/watch/file_watch.h"

#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define FILE_WATCH_MAGIC MAGIC('f', 'i', 'l', 'w')

#define POLL_MS    2000
#define SETTLE_MS  150   /* nothing has changed for so long: the writer is done */
#define RESTLESS   20    /* settle times after which it is read although it still changes */
#define RETRY_MS   60000 /* after an error, though nothing has changed */
#define MAX_FOLDER 64    /* directories that are watched; others are polled only */

struct folder {
    uv_fs_event_t event; /* first: its handle is what is closed */
    char *path;
    bool used;
};

struct file_watch {
    uint32_t magic;
    uv_loop_t *loop;
    struct list_node watched; /* file_watched */
    struct folder **folders;
    size_t n_folders;
    uv_timer_t poll, settle;
    unsigned timers; /* that are not closed */
};

static struct file_watch *watch_of(void *data)
{
    return CAST_OBJ(file_watch, data, FILE_WATCH_MAGIC);
}

/* ---- reading ---- */

static void read_again(struct file_watch *w, struct file_watched *it)
{
    uint64_t state = it->seen;
    it->read = it->seen;
    it->restless = 0;
    it->tried_ms = uv_now(w->loop);
    it->failed = !it->reader->read(it, &state);
    it->read = it->seen = state;
}

/* Looks at the files. Reads them if they have changed since they were read, and no more since they
 * were looked at last. True: they are still changing. */
static bool look(struct file_watch *w, struct file_watched *it)
{
    uint64_t state = it->reader->state(it);
    bool rests = state == it->seen || ++it->restless >= RESTLESS;
    bool retry = it->failed && uv_now(w->loop) - it->tried_ms >= RETRY_MS;
    it->seen = state;
    if (state == it->read && !retry) {
        it->restless = 0;
        return false;
    }
    if (!rests)
        return true;
    read_again(w, it);
    return false;
}

static void look_at_all(struct file_watch *w);

static void on_settled(uv_timer_t *timer)
{
    look_at_all(watch_of(timer->data));
}

static void settle(struct file_watch *w)
{
    if (!uv_is_active((uv_handle_t *)&w->settle))
        uv_timer_start(&w->settle, on_settled, SETTLE_MS, 0);
}

static void look_at_all(struct file_watch *w)
{
    bool again = false;
    list_for_each_safe (node, &w->watched)
        again |= look(w, CONTAINER_OF(node, file_watched, link));
    if (again)
        settle(w);
}

static void on_poll(uv_timer_t *timer)
{
    struct file_watch *w = watch_of(timer->data);
    if (list_empty(&w->watched))
        uv_timer_stop(&w->poll);
    else if (!uv_is_active((uv_handle_t *)&w->settle))
        look_at_all(w);
}

void file_watch_add(struct file_watch *w, struct file_watched *it, const struct file_reader *reader,
                    uint64_t state, bool failed)
{
    *it = (struct file_watched){.reader = reader,
                                .read = state,
                                .seen = state,
                                .tried_ms = uv_now(w->loop),
                                .failed = failed};
    list_init(&it->link);
    list_push_back(&w->watched, &it->link);
    if (!uv_is_active((uv_handle_t *)&w->poll))
        uv_timer_start(&w->poll, on_poll, POLL_MS, POLL_MS);
}

void file_watch_was_read(struct file_watched *it, uint64_t state)
{
    it->read = it->seen = state;
    it->restless = 0;
}

void file_watch_remove(struct file_watched *it)
{
    if (it->link.next != NULL)
        list_unlink(&it->link);
}

/* ---- directories ---- */

static void on_event(uv_fs_event_t *event, const char *file, int events, int status)
{
    (void)file;
    (void)events;
    (void)status;
    settle(watch_of(event->data));
}

static void on_folder_closed(uv_handle_t *handle)
{
    struct folder *f = CONTAINER_OF((uv_fs_event_t *)handle, folder, event);
    free(f->path);
    free(f);
}

static struct folder *find_folder(const struct file_watch *w, const char *path)
{
    for (size_t i = 0; i < w->n_folders; i++)
        if (strcmp(w->folders[i]->path, path) == 0)
            return w->folders[i];
    return NULL;
}

/* Without a watch it is found by looking every now and then. */
static void watch_folder(struct file_watch *w, const char *path)
{
    struct folder *f = find_folder(w, path);
    if (f != NULL)
        f->used = true;
    if (f != NULL || w->n_folders == MAX_FOLDER)
        return;
    f = mem_need(calloc(1, sizeof(*f)));
    f->path = mem_need(strdup(path));
    f->used = true;
    uv_fs_event_init(w->loop, &f->event);
    f->event.data = w;
    if (uv_fs_event_start(&f->event, on_event, path, 0) != 0) {
        uv_close((uv_handle_t *)&f->event, on_folder_closed);
        return;
    }
    w->folders[w->n_folders++] = f;
}

void file_watch_path(struct file_watch *w, const char *path)
{
    struct stat st;
    char copy[PATH_MAX];
    if (path == NULL || strlen(path) >= sizeof(copy))
        return;
    memcpy(copy, path, strlen(path) + 1);
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    watch_folder(w, is_folder ? copy : dirname(copy));
}

void file_watch_paths_begin(struct file_watch *w)
{
    for (size_t i = 0; i < w->n_folders; i++)
        w->folders[i]->used = false;
}

void file_watch_paths_end(struct file_watch *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_folders; i++) {
        if (w->folders[i]->used)
            w->folders[n++] = w->folders[i];
        else
            uv_close((uv_handle_t *)&w->folders[i]->event, on_folder_closed);
    }
    w->n_folders = n;
}

/* ---- life ---- */

struct file_watch *file_watch_new(uv_loop_t *loop)
{
    struct file_watch *w = mem_need(calloc(1, sizeof(*w)));
    w->magic = FILE_WATCH_MAGIC;
    w->loop = loop;
    w->folders = mem_need(calloc(MAX_FOLDER, sizeof(struct folder *)));
    list_init(&w->watched);
    uv_timer_init(loop, &w->poll);
    uv_timer_init(loop, &w->settle);
    w->poll.data = w->settle.data = w;
    w->timers = 2;
    return w;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct file_watch *w = watch_of(handle->data);
    if (--w->timers > 0)
        return;
    free(w->folders);
    w->magic = 0;
    free(w);
}

void file_watch_end(struct file_watch *w)
{
    if (w == NULL)
        return;
    list_for_each_safe (node, &w->watched)
        list_unlink(node);
    uv_close((uv_handle_t *)&w->poll, on_timer_closed);
    uv_close((uv_handle_t *)&w->settle, on_timer_closed);
    for (size_t i = 0; i < w->n_folders; i++)
        uv_close((uv_handle_t *)&w->folders[i]->event, on_folder_closed);
}
