/* link: opening, locks, versions, generations, config page, bell. Each test has an instance of its own in /dev/shm and removes it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/link/layout.h"
#include "engine/link/link.h"
#include "tests/unit/unit.h"

static char instance[64], path[96], err[256];

static int setup(void **state)
{
    static int n;
    snprintf(instance, sizeof instance, "test-link-%d-%d", (int)getpid(), n++);
    snprintf(path, sizeof path, "/dev/shm/barewire-%s", instance);
    link_unlink(instance);
    return 0;
}

static int teardown(void **state)
{
    link_unlink(instance);
    return access(path, F_OK) == 0;
}

static struct link *control(uint32_t workers, bool *fresh)
{
    struct link *l = NULL;
    bool f = false;
    int rc = link_open_control(&l, instance, workers, &f, err, sizeof err);
    if (rc)
        fail_msg("%s", err);
    if (fresh)
        *fresh = f;
    return l;
}

static struct link *dataplane(void)
{
    struct link *l = NULL;
    if (link_open_dataplane(&l, instance, err, sizeof err))
        fail_msg("%s", err);
    return l;
}

static void test_sizes_and_mode(void **state)
{
    struct stat st;
    struct link *c = control(3, NULL);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, link_total_bytes(3));
    assert_int_equal(link_workers(c), 3);
    link_close(c);
}

static void test_both_sides_talk(void **state)
{
    struct ring_record rec;
    struct link *c = control(2, NULL), *d = dataplane();
    assert_int_equal(link_workers(d), 2);
    uint32_t g = link_generation(c);
    link_dp_begin(d, getpid());
    assert_int_equal(link_generation(c), g + 1);
    assert_false(ring_send(link_to_worker(c, 1), 1, "x", 1)); /* views of before */
    assert_true(link_refresh(c));
    assert_false(link_refresh(c));
    for (uint32_t w = 0; w < 2; w++) {
        assert_true(ring_send(link_to_worker(c, w), 5 + w, "down", 4));
        assert_int_equal(ring_peek(link_to_worker(d, w), &rec), RING_RECORD);
        assert_int_equal(rec.type, 5 + w);
        ring_release(link_to_worker(d, w));
        assert_true(ring_send(link_from_worker(d, w), 9, "up", 2));
        assert_int_equal(ring_peek(link_from_worker(c, w), &rec), RING_RECORD);
        assert_memory_equal(rec.payload.p, "up", 2);
        ring_release(link_from_worker(c, w));
        STAT_ADD(link_stats(d, w)->commands, 5 + w);
        assert_int_equal(STAT_GET(link_stats(c, w)->commands), 5 + w);
        link_cmdstats(d, w)[LINK_COMMANDS - 1].calls = 77;
        assert_int_equal(link_cmdstats(c, w)[LINK_COMMANDS - 1].calls, 77);
    }
    link_dp_set_banner(d, "two queues");
    link_dp_set_state(d, LINK_DP_RUNNING, 4321);
    pid_t pid;
    assert_int_equal(link_dp_state(c, &pid), LINK_DP_RUNNING);
    assert_int_equal(pid, 4321);
    char text[16], tiny[4];
    link_dp_banner(c, text, sizeof text);
    assert_string_equal(text, "two queues");
    link_dp_banner(c, tiny, sizeof tiny);
    assert_string_equal(tiny, "two");
    link_close(d);
    link_close(c);
}

static void test_exclusion_and_life(void **state)
{
    struct link *c = control(1, NULL), *x;
    bool fresh;
    assert_int_equal(link_open_control(&x, instance, 1, &fresh, err, sizeof err), -EBUSY);
    assert_non_null(strstr(err, "another barewire-control"));
    assert_false(link_dp_alive(c));
    struct link *d = dataplane();
    assert_int_equal(link_open_dataplane(&x, instance, err, sizeof err), -EBUSY);
    assert_non_null(strstr(err, "another barewire-dataplane"));
    assert_true(link_dp_alive(c));
    assert_true(link_control_alive(d));
    link_close(c);
    assert_false(link_control_alive(d));
    link_close(d);
}

/* Killed while it started a dataplane: until that is another program it has the lock, too. Its next start was refused: "another barewire-control is running". */
static void test_control_was_killed_while_it_forked(void **state)
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t first = fork();
    if (first == 0) {
        struct link *l;
        bool fresh;
        if (link_open_control(&l, instance, 1, &fresh, err, sizeof err))
            _exit(1);
        if (fork() == 0) { /* has the lock for a while after the death of the other */
            usleep(100000);
            _exit(0);
        }
        _exit(write(ready[1], "x", 1) == 1 ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    int status;
    waitpid(first, &status, 0);
    assert_int_equal(status, 0);
    struct link *l = control(1, NULL);
    link_close(l);
    close(ready[0]);
    close(ready[1]);
}

static void test_no_link_and_bad_names(void **state)
{
    struct link *x;
    bool fresh;
    assert_int_equal(link_open_dataplane(&x, instance, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, path));
    const char *bad[] = {"", "../etc", "a/b", ".x", "a b", NULL};
    for (int i = 0; bad[i]; i++)
        assert_int_equal(link_open_control(&x, bad[i], 1, &fresh, err, sizeof err), -EINVAL);
    assert_int_equal(link_open_control(&x, instance, 0, &fresh, err, sizeof err), -EINVAL);
    assert_int_equal(link_open_control(&x, instance, 65, &fresh, err, sizeof err), -EINVAL);
    /* A link that somebody else laid in the way is not followed. */
    assert_int_equal(symlink("/etc/hostname", path), 0);
    assert_true(link_open_control(&x, instance, 1, &fresh, err, sizeof err) < 0);
}

/* Control comes back: it finds the living dataplane, its generation is one up, its door starts afresh. */
static void test_control_returns(void **state)
{
    bool fresh;
    struct ring_record rec;
    struct link *c = control(2, &fresh);
    assert_true(fresh);
    struct link *d = dataplane();
    link_dp_begin(d, getpid());
    uint32_t cg = link_control_generation(d), g = link_generation(d);
    assert_true(ring_send(link_from_worker(d, 0), 1, "for the dead", 12));
    link_close(c);
    c = control(5, &fresh);
    assert_false(fresh);
    assert_int_equal(link_workers(c), 2); /* the region's */
    assert_int_equal(link_control_generation(d), cg + 1);
    assert_int_equal(link_generation(c), g);
    assert_int_equal(ring_peek(link_from_worker(c, 0), &rec), RING_EMPTY);
    assert_true(ring_send(link_from_worker(d, 0), 2, "new", 3));
    assert_int_equal(ring_peek(link_from_worker(c, 0), &rec), RING_RECORD);
    assert_int_equal(rec.type, 2);
    assert_true(ring_send(link_to_worker(c, 1), 3, NULL, 0));
    assert_int_equal(ring_peek(link_to_worker(d, 1), &rec), RING_RECORD);
    link_close(c);
    link_close(d);
}

/* Both dead: the region of before is replaced, and no new dataplane can be fooled by the old file. */
static void test_stale_region(void **state)
{
    bool fresh;
    struct stat a, b;
    struct link *c = control(1, NULL), *d = dataplane();
    link_dp_begin(d, getpid());
    assert_int_equal(stat(path, &a), 0);
    int keep = open(path, O_RDWR); /* keeps the inode from being used again */
    link_close(d);
    link_close(c);
    c = control(4, &fresh);
    assert_true(fresh);
    assert_int_equal(link_workers(c), 4);
    assert_int_equal(stat(path, &b), 0);
    assert_int_not_equal(a.st_ino, b.st_ino);
    d = dataplane();
    assert_int_equal(link_workers(d), 4);
    link_close(d);
    link_close(c);
    close(keep);
}

static void poke(size_t offset, const void *p, size_t n)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, (off_t)offset), n);
    close(fd);
}

static void test_version_mismatch(void **state)
{
    struct link *c = control(1, NULL), *x;
    uint32_t v = LINK_LAYOUT_VERSION + 41;
    uint64_t magic = 0;
    bool fresh;
    char want[64];
    poke(offsetof(struct link_header, layout_version), &v, 4);
    assert_int_equal(link_open_dataplane(&x, instance, err, sizeof err), -EPROTO);
    snprintf(want, sizeof want, "barewire-dataplane has version %d", LINK_LAYOUT_VERSION);
    assert_non_null(strstr(err, want));
    snprintf(want, sizeof want, "has version %u", v);
    assert_non_null(strstr(err, want));

    /* A living dataplane of the other version, seen by a new control. */
    v = LINK_LAYOUT_VERSION;
    poke(offsetof(struct link_header, layout_version), &v, 4);
    struct link *d = dataplane();
    link_dp_begin(d, 31337);
    link_close(c);
    v = LINK_LAYOUT_VERSION + 1;
    poke(offsetof(struct link_header, layout_version), &v, 4);
    assert_int_equal(link_open_control(&x, instance, 1, &fresh, err, sizeof err), -EPROTO);
    snprintf(want, sizeof want, "barewire-control has version %d", LINK_LAYOUT_VERSION);
    assert_non_null(strstr(err, want));
    snprintf(want, sizeof want, "pid 31337 has version %u", v);
    assert_non_null(strstr(err, want));

    /* The same version with a record of another size. */
    v = LINK_LAYOUT_VERSION;
    poke(offsetof(struct link_header, layout_version), &v, 4);
    uint32_t other = sizeof(struct stats_worker) + 8;
    poke(offsetof(struct link_header, stats_bytes), &other, 4);
    assert_int_equal(link_open_control(&x, instance, 1, &fresh, err, sizeof err), -EPROTO);
    link_close(d);

    /* Nobody alive: whatever is there is replaced. */
    c = control(1, &fresh);
    assert_true(fresh);
    poke(0, &magic, 8);
    assert_int_equal(link_open_dataplane(&x, instance, err, sizeof err), -ENOENT);
    link_close(c);
    assert_int_equal(truncate(path, 100), 0);
    link_close(control(1, NULL));
}

static void test_config_page(void **state)
{
    struct link *c = control(1, NULL), *d = dataplane();
    struct engine_config a, b;
    uint64_t version;
    memset(&a, 0, sizeof a);
    a.maxmemory_bytes = 12345;
    a.requirepass_len = 3;
    memcpy(a.requirepass, "abc", 3);
    link_config_publish(c, &a);
    assert_true(link_config_read(d, &b, &version));
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(version, link_config_version(d));
    a.maxmemory_bytes++;
    link_config_publish(c, &a);
    assert_int_not_equal(version, link_config_version(d));

    /* Control died in the middle of a write: refused until the next one. */
    uint64_t odd = link_config_version(d) + 1;
    poke(LINK_CONFIG_OFFSET, &odd, 8);
    assert_false(link_config_read(d, &b, &version));
    link_config_publish(c, &a);
    assert_true(link_config_read(d, &b, &version));
    assert_int_equal(b.maxmemory_bytes, 12346);

    /* Counts that would lead beyond their arrays. */
    a.net_allow_count = LIMIT_NET_ALLOW + 1;
    link_config_publish(c, &a);
    assert_false(link_config_read(d, &b, &version));
    a.net_allow_count = 0;
    a.requirepass_len = LIMIT_PASSWORD_BYTES + 1;
    link_config_publish(c, &a);
    assert_false(link_config_read(d, &b, &version));
    link_close(d);
    link_close(c);
}

struct reader {
    struct link *l;
    uint64_t reads, mixed;
    bool stop;
};

static void *read_config(void *arg)
{
    struct reader *r = arg;
    struct engine_config c;
    uint64_t version;
    while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
        if (!link_config_read(r->l, &c, &version))
            continue;
        r->reads++;
        r->mixed += c.maxmemory_bytes != c.latency_threshold_ms;
    }
    return NULL;
}

static void test_config_is_never_mixed(void **state)
{
    struct link *c = control(1, NULL), *d = dataplane();
    struct reader r = {.l = d};
    struct engine_config e = {0};
    pthread_t t;
    link_config_publish(c, &e);
    assert_int_equal(pthread_create(&t, NULL, read_config, &r), 0);
    for (uint64_t i = 1; i < 50000; i++) {
        e.maxmemory_bytes = e.latency_threshold_ms = i;
        link_config_publish(c, &e);
    }
    __atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
    assert_int_equal(r.mixed, 0);
    link_close(d);
    link_close(c);
}

static void test_banner_lies(void **state)
{
    struct link *c = control(1, NULL);
    uint32_t len = 0xffffffff;
    char text[2 * LINK_BANNER_BYTES];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    link_dp_set_banner(c, text);
    poke(offsetof(struct link_header, banner_len), &len, 4);
    link_dp_banner(c, text, sizeof text);
    assert_int_equal(strlen(text), LINK_BANNER_BYTES);
    len = 99;
    poke(offsetof(struct link_header, dp_state), &len, 4);
    assert_int_equal(link_dp_state(c, NULL), LINK_DP_NONE);
    link_close(c);
}

static void *wait_for_bell(void *arg)
{
    struct link *l = arg;
    uint32_t seen = 0;
    for (int i = 0; i < 100 && !seen; i++)
        seen = link_bell_wait(l, 0, 100);
    return (void *)(uintptr_t)seen;
}

static void test_bell(void **state)
{
    struct link *c = control(1, NULL), *d = dataplane();
    pthread_t t;
    void *seen;
    link_bell_ring(d);
    assert_int_equal(link_bell_wait(c, 0, 0), 0); /* control is awake: no call, no count */
    assert_int_equal(pthread_create(&t, NULL, wait_for_bell, c), 0);
    link_bell_arm(c);
    link_bell_ring(d);
    pthread_join(t, &seen);
    assert_int_equal((uintptr_t)seen, 1);
    link_bell_ring(d);
    assert_int_equal(link_bell_wait(c, 1, 0), 1); /* one ring an arming */
    link_bell_arm(c);
    link_bell_disarm(c);
    link_bell_ring(d);
    assert_int_equal(link_bell_wait(c, 1, 0), 1);
    link_close(d);
    link_close(c);
}

/* kill -9 of a process gives its lock back. */
static void test_killed_dataplane(void **state)
{
    struct link *c = control(1, NULL);
    int ready[2];
    char b;
    assert_int_equal(pipe(ready), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct link *d;
        if (link_open_dataplane(&d, instance, err, sizeof err))
            _exit(1);
        link_dp_begin(d, getpid());
        link_dp_set_state(d, LINK_DP_RUNNING, getpid());
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &b, 1), 1);
    assert_true(link_dp_alive(c));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(link_dp_alive(c));
    struct link *d = dataplane();
    uint32_t g = link_generation(d);
    link_dp_begin(d, getpid());
    assert_int_equal(link_generation(d), g + 1);
    link_close(d);
    link_close(c);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_sizes_and_mode),        T(test_both_sides_talk),
        T(test_exclusion_and_life),    T(test_control_was_killed_while_it_forked),
        T(test_no_link_and_bad_names), T(test_control_returns),
        T(test_stale_region),          T(test_version_mismatch),
        T(test_config_page),           T(test_config_is_never_mixed),
        T(test_banner_lies),           T(test_bell),
        T(test_killed_dataplane),
    };
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
