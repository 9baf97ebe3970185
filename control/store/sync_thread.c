/* sync_thread.c: see sync_thread.h. */
#include "control/store/sync_thread.h"

#include <pthread.h>
#include <stdlib.h>

enum state { IDLE, ASKED, OVER, STOP };

struct sync_thread {
    pthread_t thread;
    pthread_mutex_t mutex; /* state, file, rc */
    pthread_cond_t moved;
    enum state state;
    const struct log_file *file;
    int rc;
    bool busy; /* the owner's */
    void (*wake)(void *ctx);
    void *ctx;
};

static void *main_of(void *arg)
{
    struct sync_thread *s = arg;
    pthread_mutex_lock(&s->mutex);
    while (s->state != STOP) {
        if (s->state != ASKED) {
            pthread_cond_wait(&s->moved, &s->mutex);
            continue;
        }
        pthread_mutex_unlock(&s->mutex);
        int rc = log_file_fsync(s->file);
        pthread_mutex_lock(&s->mutex);
        s->rc = rc;
        s->state = OVER;
        pthread_cond_broadcast(&s->moved);
        s->wake(s->ctx);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

struct sync_thread *sync_thread_new(void (*wake)(void *ctx), void *ctx)
{
    struct sync_thread *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->wake = wake;
    s->ctx = ctx;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->moved, NULL);
    if (pthread_create(&s->thread, NULL, main_of, s)) {
        free(s);
        return NULL;
    }
    return s;
}

void sync_thread_free(struct sync_thread *s)
{
    int rc;
    if (!s)
        return;
    sync_thread_end(s, true, &rc);
    pthread_mutex_lock(&s->mutex);
    s->state = STOP;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->moved);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

void sync_thread_begin(struct sync_thread *s, const struct log_file *f)
{
    pthread_mutex_lock(&s->mutex);
    s->file = f;
    s->state = ASKED;
    s->busy = true;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->mutex);
}

bool sync_thread_busy(const struct sync_thread *s)
{
    return s->busy;
}

bool sync_thread_end(struct sync_thread *s, bool wait, int *ret_rc)
{
    if (!s->busy)
        return false;
    pthread_mutex_lock(&s->mutex);
    while (wait && s->state == ASKED)
        pthread_cond_wait(&s->moved, &s->mutex);
    bool over = s->state == OVER;
    if (over) {
        *ret_rc = s->rc;
        s->state = IDLE;
        s->busy = false;
    }
    pthread_mutex_unlock(&s->mutex);
    return over;
}
