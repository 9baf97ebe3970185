/* check_files.c: see check_files.h.
 *
 * An RDB file is read twice at most: once to look at every item, every value made and dropped again, and the checksum; with --fix once
 * more to copy what is good to a new file, which takes the old one's name when it is on the disk. The old one stays as FILE.damaged.
 * An append-only file is kept up to its last whole group (ours) or command (Redis's), by what engine/log/aof.h says of it.
 * Thread: the tool's only one. */
#include "control/check_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "engine/cmd/rdb_object.h"
#include "engine/log/aof.h"
#include "engine/log/rdb_file.h"
#include "engine/shard/shard.h"

#define SHOWN_DAMAGES 10

struct range {
    uint64_t from, to;
};

struct checked {
    FILE *out;
    const char *path;
    struct span bytes; /* of the file, mapped */
    struct shard shard;
    struct engine_config config;
    struct rdb_file file;
    uint64_t keys, expires, bad_keys, functions, modules;
    uint32_t databases; /* a bit for each that was met */
    struct range *bad;  /* keys that are left out */
    size_t bad_n, bad_cap;
    uint64_t good_to; /* items before it are whole */
    bool ended, crc_wrong;
};

/* ---- RDB: looking ---- */

static bool remember_bad(struct checked *c, uint64_t from, uint64_t to)
{
    if (c->bad_n == c->bad_cap) {
        size_t cap = c->bad_cap ? c->bad_cap * 2 : 16;
        struct range *grown = realloc(c->bad, cap * sizeof(*grown));
        if (!grown)
            return false;
        c->bad = grown;
        c->bad_cap = cap;
    }
    c->bad[c->bad_n++] = (struct range){from, to};
    return true;
}

/* The value is made as a worker would make it, and dropped. */
static bool value_is_good(struct checked *c, const struct rdb_item *item)
{
    struct rdb_reader r;
    struct rdb_text key;
    struct rdb_object o;
    if (!rdb_body_key(&r, item->body, &c->shard.mem, &key))
        return false;
    bool good = rdb_load_object(&r, &c->shard, item->type, &o);
    if (good) {
        good = rdb_left(&r) == 0;
        rdb_object_free(&r, &c->shard, &o);
    }
    rdb_text_free(&r, &key);
    return good;
}

static void look_at_key(struct checked *c, const struct rdb_item *item, uint64_t offset)
{
    c->keys++;
    c->expires += item->expire_ms >= 0;
    c->databases |= 1u << (c->file.db & 31);
    if (value_is_good(c, item))
        return;
    if (c->bad_keys++ < SHOWN_DAMAGES)
        fprintf(c->out, "%s: byte %" PRIu64 ": the value of a key (type %u) is damaged\n", c->path,
                offset, item->type);
    remember_bad(c, offset, offset + item->bytes);
}

/* To the end, or to where no item can be read. */
static void look_at_items(struct checked *c)
{
    rdb_file_init(&c->file, c->bytes.n, true);
    for (;;) {
        struct rdb_item item;
        uint64_t offset = c->file.offset;
        c->good_to = offset;
        switch (rdb_file_next(&c->file, c->bytes.p + offset, c->bytes.n - offset, &item)) {
        case RDB_FILE_ITEM: break;
        case RDB_FILE_END: c->ended = true; return;
        case RDB_FILE_MORE:
            snprintf(c->file.error, sizeof(c->file.error), "the file ends here");
            return;
        case RDB_FILE_BAD:
            c->crc_wrong = c->bytes.p[offset] == RDB_OP_END && c->file.version;
            return;
        }
        if (item.kind == RDB_ITEM_KEY)
            look_at_key(c, &item, offset);
        c->functions += item.kind == RDB_ITEM_FUNCTION;
        c->modules += item.kind == RDB_ITEM_MODULE_AUX;
    }
}

/* ---- RDB: mending ---- */

struct copy {
    int fd;
    uint64_t crc;
    int rc;
};

static void copy_bytes(struct copy *x, const uint8_t *p, size_t n)
{
    x->crc = crc64(x->crc, p, n);
    if (!x->rc)
        x->rc = file_write_all(x->fd, p, n);
}

static int write_good(const struct checked *c, int fd)
{
    static const uint8_t end = RDB_OP_END;
    struct copy x = {.fd = fd};
    uint64_t at = 0;
    for (size_t i = 0; i < c->bad_n; i++) {
        copy_bytes(&x, c->bytes.p + at, c->bad[i].from - at);
        at = c->bad[i].to;
    }
    copy_bytes(&x, c->bytes.p + at, c->good_to - at);
    copy_bytes(&x, &end, 1);
    uint64_t crc = x.crc;
    if (c->file.version >= 5)
        copy_bytes(&x, (const uint8_t *)&crc, sizeof(crc));
    return x.rc ? x.rc : file_ops.fsync(fd) ? -errno : 0;
}

static int mend(const char *path, FILE *out, int (*write_it)(const void *ctx, int fd),
                const void *ctx)
{
    char temp[4096], kept[4096], dir[4096];
    snprintf(temp, sizeof(temp), "%s.mended-%d", path, (int)getpid());
    snprintf(kept, sizeof(kept), "%s.damaged", path);
    snprintf(dir, sizeof(dir), "%s", path);
    int fd = file_ops.open(temp, O_WRONLY | O_CREAT | O_EXCL, 0644);
    int rc = fd < 0 ? -errno : write_it(ctx, fd);
    if (fd >= 0 && file_ops.close(fd) && !rc)
        rc = -errno;
    if (!rc && access(kept, F_OK) == 0)
        rc = -EEXIST;
    if (!rc && (file_ops.rename(path, kept) || file_ops.rename(temp, path)))
        rc = -errno;
    if (!rc)
        rc = file_sync_dir(dirname(dir));
    if (rc) {
        fprintf(out, "%s: it could not be mended: %s\n", path,
                rc == -EEXIST ? "FILE.damaged of an earlier time is in the way" : strerror(-rc));
        file_ops.unlink(temp);
        return 1;
    }
    fprintf(out, "%s: mended; the damaged file is %s\n", path, kept);
    return 0;
}

static int write_good_rdb(const void *ctx, int fd)
{
    return write_good(ctx, fd);
}

static int report_rdb(struct checked *c, bool fix)
{
    bool whole = c->ended && !c->bad_keys;
    fprintf(c->out, "%s: RDB version %u, %" PRIu64 " keys, %" PRIu64 " of them with an expiry%s\n",
            c->path, c->file.version, c->keys, c->expires,
            c->file.unchecked && c->ended ? "; it has no checksum" : "");
    if (c->functions || c->modules)
        fprintf(c->out,
                "%s: function libraries (%" PRIu64 ") and data of modules (%" PRIu64
                ") are left out when it is loaded\n",
                c->path, c->functions, c->modules);
    if (whole && c->good_to + (c->file.version >= 5 ? RDB_END_BYTES : 1) < c->bytes.n)
        fprintf(c->out, "%s: bytes behind its end are not looked at\n", c->path);
    if (whole) {
        fprintf(c->out, "%s: OK\n", c->path);
        return 0;
    }
    if (!c->ended)
        fprintf(c->out, "%s: byte %" PRIu64 ": %s\n", c->path, c->good_to, c->file.error);
    if (!c->file.version)
        return 1;
    if (c->crc_wrong && !c->bad_keys)
        fprintf(c->out, "%s: every key can be read, but one of them is not what was written\n",
                c->path);
    fprintf(c->out, "%s: DAMAGED; %" PRIu64 " keys can be kept%s\n", c->path, c->keys - c->bad_keys,
            fix ? "" : " (--fix)");
    return fix ? mend(c->path, c->out, write_good_rdb, c) : 1;
}

/* ---- append-only files ---- */

struct head { /* of a file: what is kept */
    struct span bytes;
};

static int write_head(const void *ctx, int fd)
{
    const struct head *h = ctx;
    int rc = file_write_all(fd, h->bytes.p, h->bytes.n);
    return rc ? rc : file_ops.fsync(fd) ? -errno : 0;
}

static int check_aof(const char *path, struct span bytes, uint64_t from, bool fix, FILE *out)
{
    struct aof_check a;
    aof_check(bytes, from, &a);
    fprintf(out, "%s: append-only file%s, %" PRIu64 " commands in %" PRIu64 " whole bytes\n", path,
            a.ours ? "" : " without checksums", a.commands, a.good_bytes);
    if (a.room)
        fprintf(out, "%s: behind byte %" PRIu64 " there is room for more\n", path, a.text_bytes);
    if (a.verdict == AOF_WHOLE) {
        fprintf(out, "%s: OK\n", path);
        return 0;
    }
    bool torn = a.verdict == AOF_TORN;
    fprintf(out, "%s: byte %" PRIu64 ": %s\n", path, torn ? a.good_bytes : a.bad_at,
            torn ? "what follows was never finished" : a.why);
    if (a.bad_group)
        fprintf(out, "%s: in group %" PRIu64 "\n", path, a.bad_group);
    fprintf(out, "%s: %s; %" PRIu64 " of %zu bytes can be kept%s\n", path,
            torn ? "TORN" : "DAMAGED", a.good_bytes, bytes.n, fix ? "" : " (--fix)");
    struct head h = {span_of(bytes.p, a.good_bytes)};
    return fix ? mend(path, out, write_head, &h) : 1;
}

/* ---- files ---- */

static int check_rdb(const char *path, struct span bytes, bool fix, FILE *out)
{
    static const struct siphash_key key;
    struct checked c = {.out = out, .path = path, .bytes = bytes};
    engine_config_defaults(&c.config);
    if (shard_init(&c.shard, 0, 1, &key, &c.config, 1)) {
        fprintf(out, "%s: no memory\n", path);
        return 1;
    }
    look_at_items(&c);
    uint64_t end = c.good_to + (c.file.version >= 5 ? RDB_END_BYTES : 1);
    /* An append-only file may begin with an RDB. */
    bool is_base =
        c.ended && !c.bad_keys && end < bytes.n && (bytes.p[end] == '*' || bytes.p[end] == '#');
    int rc = is_base ? check_aof(path, bytes, end, fix, out) : report_rdb(&c, fix);
    free(c.bad);
    shard_fini(&c.shard);
    return rc;
}

static int check_bytes(const char *path, struct span bytes, bool fix, FILE *out)
{
    if (bytes.n >= 5 && memcmp(bytes.p, "REDIS", 5) == 0)
        return check_rdb(path, bytes, fix, out);
    if (bytes.p[0] == '*' || bytes.p[0] == '#')
        return check_aof(path, bytes, 0, fix, out);
    fprintf(out, "%s: neither a snapshot (RDB) nor an append-only file\n", path);
    return 1;
}

int check_file(const char *path, bool fix, FILE *out)
{
    struct stat st;
    int fd = file_ops.open(path, O_RDONLY, 0), rc = 1;
    if (fd < 0 || fstat(fd, &st)) {
        fprintf(out, "%s: %s\n", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        fprintf(out, "%s: %s\n", path, S_ISREG(st.st_mode) ? "empty" : "not a file");
    } else {
        size_t n = (size_t)st.st_size;
        void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            fprintf(out, "%s: %s\n", path, strerror(errno));
        } else {
            rc = check_bytes(path, span_of(p, n), fix, out);
            munmap(p, n);
        }
    }
    if (fd >= 0)
        file_ops.close(fd);
    return rc;
}

int check_files_main(int argc, char **argv)
{
    bool fix = false;
    int files = 0, rc = 0;
    for (int i = 0; i < argc; i++)
        fix |= !strcmp(argv[i], "--fix");
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--fix"))
            continue;
        if (argv[i][0] == '-') {
            fprintf(stderr, "barewire check-files: unknown option %s\n", argv[i]);
            return 2;
        }
        files++;
        rc |= check_file(argv[i], fix, stdout);
    }
    if (!files)
        fprintf(stderr, "barewire check-files FILE... [--fix]\n");
    return files ? rc : 2;
}
