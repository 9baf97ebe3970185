/* repository: a directory of backups.
 *
 *   barewire-backups             says what the directory is
 *   000001.backup                one backup: what it was made of, its files with length and SHA-256, and a sum of itself
 *   000001.base.rdb, 000001.1.aof, 000003.1.aof        files; the number is that of the backup that wrote them first
 *
 * A backup lists all files it needs, those of earlier ones too: an incremental one is the files of the one before and what the log has gained since. A file of
 * commands begins with the first line of a log of ours and ends with a whole group, so each can be checked by itself, and their groups follow each other.
 * The .backup file is written last, and renamed into place when everything it names is on the disk: what no .backup names was never finished, and goes.
 * Thread: the tool's only one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/tools/tool.h"

#define PART_NAME 40

struct part {
    char name[PART_NAME];
    char kind; /* 'b' base of a log, 'i' commands, 'r' a snapshot */
    uint64_t bytes;
    char sum[TOOL_SUM_CHARS];
};

/* Where the source's log stood, so that the next one knows that it goes on there. */
struct backup_mark {
    char base[300];      /* name, inode, length and time of the base; "-": there is none */
    char file[300];      /* the increment that was read last */
    uint64_t inode, end; /* of it; where the last whole group ended */
    char line[128];      /* its end line, without \r\n; empty: nothing that could be recognised */
    uint64_t group;
};

struct backup {
    uint64_t id;
    int64_t time_s;
    char kind[12]; /* full, incremental, snapshot */
    char dirname[128], prefix[128];
    struct backup_mark mark;
    struct part *part;
    uint32_t parts;
    bool bad;
    char why[300]; /* bad */
};

struct repository {
    char dir[4096];
    int fd;                /* the lock */
    struct backup *backup; /* by id */
    uint32_t n;
};

/* `create`: makes it where nothing is yet, and nobody else uses it; else others may read beside us. 0 or -errno, `err` says why. */
int repository_open(struct repository *r, const char *dir, bool create, char *err, size_t n);
void repository_close(struct repository *r);
/* The one with that id; 0: the newest. NULL: there is none. */
struct backup *repository_find(struct repository *r, uint64_t id);
void repository_path(const struct repository *r, const char *name, char *to, size_t n);
/* Adds a part; its sum and length are taken from the file. False: told in err. */
bool backup_add(const struct repository *r, struct backup *b, const char *name, char kind,
                struct tool_bar *bar, char *err, size_t n);
/* Files are synced by who wrote them. 0 or -errno. It belongs to the repository then. */
int repository_write(struct repository *r, const struct backup *b);
/* Takes one away; its files go with repository_tidy. 0 or -errno. */
int repository_remove(struct repository *r, uint32_t index);
/* Files that no backup names. Not when one of these is damaged: nobody knows what it names. */
void repository_tidy(const struct repository *r);
/* NULL: it is what the backup says. Else what is wrong with it (static). */
const char *part_check(const struct part *p, struct span file, struct tool_bar *bar);
