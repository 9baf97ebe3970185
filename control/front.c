/* barewire: the front door. It knows the words; the work is done by barewire-control (run) and by control/config (check and the
 * texts made from its table). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/check_files.h"
#include "control/config/check.h"
#include "control/config/config.h"
#include "control/tools/backup.h"
#include "control/tools/import.h"

/* Becomes another of our programs: the one that `variable` names, or the first of `places`, which are relative to our own. */
static int become(const char *program, const char *variable, const char *const *places,
                  size_t n_places, char **argv)
{
    const char *env = getenv(variable);
    char dir[PATH_MAX], path[PATH_MAX + 64];
    argv[0] = (char *)program;
    if (env && *env) {
        execv(env, argv);
        fprintf(stderr, "barewire: %s: %s\n", env, strerror(errno));
        return 1;
    }
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    if (n < 0) {
        fprintf(stderr, "barewire: /proc/self/exe: %s\n", strerror(errno));
        return 1;
    }
    dir[n] = 0;
    *strrchr(dir, '/') = 0;
    for (size_t i = 0; i < n_places; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, places[i]);
        execv(path, argv);
    }
    fprintf(stderr, "barewire: no executable %s beside %s (%s names another): %s\n", program, dir,
            variable, strerror(errno));
    return 1;
}

static int run(int argc, char **argv)
{
    static const char *const places[] = {"barewire-control", "../libexec/barewire-control"};
    (void)argc;
    return become("barewire-control", "BAREWIRE_CONTROL", places, sizeof places / sizeof places[0],
                  argv);
}

static int bench(int argc, char **argv)
{
    static const char *const places[] = {"barewire-bench", "../dataplane/bench/barewire-bench",
                                         "../libexec/barewire-bench"};
    (void)argc;
    return become("barewire-bench", "BAREWIRE_BENCH", places, sizeof places / sizeof places[0],
                  argv);
}

static int check(int argc, char **argv)
{
    return check_main(argc - 1, argv + 1);
}

static int check_files(int argc, char **argv)
{
    return check_files_main(argc - 1, argv + 1);
}

static int backup(int argc, char **argv)
{
    return backup_main(argc - 1, argv + 1);
}

static int restore(int argc, char **argv)
{
    return restore_main(argc - 1, argv + 1);
}

static int verify(int argc, char **argv)
{
    return verify_main(argc - 1, argv + 1);
}

static int import(int argc, char **argv)
{
    return import_main(argc - 1, argv + 1);
}

static int version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("Barewire %s (commands as Redis 7.0.15)\n", BAREWIRE_VERSION);
    return 0;
}

static int print_text(char *text)
{
    if (!text)
        return 1;
    fputs(text, stdout);
    free(text);
    return 0;
}

static int sample(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return print_text(config_sample());
}

static int docs(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return print_text(config_docs());
}

static int help(int argc, char **argv);

static const struct word {
    const char *name, *arguments, *what;
    int (*fn)(int argc, char **argv);
} words[] = {
    {"run", "[CONF | -] [--directive value ...]",
     "start the server in the foreground; Ctrl-C stops it", run},
    {"check", "[CONF] [--directive value ...]",
     "look at this machine: what is wrong and the command that mends it", check},
    {"bench", "[options | compare A.json B.json]",
     "load a RESP server over our own stack or kernel sockets, and measure (bench --help)", bench},
    {"check-files", "FILE... [--fix]",
     "look at snapshots and append-only files: are they whole; --fix keeps what is good",
     check_files},
    {"backup", "DIR [-s SOCKET | -h HOST -p PORT | --from DATADIR] [--keep N] [--keep-days DAYS]",
     "back up a server while it runs: whole at first, then what is new", backup},
    {"restore", "DIR [--into DATADIR] [--backup NUMBER | --to TIME]",
     "make the files of a server from a backup, as they were at any time", restore},
    {"verify", "DIR", "look at every byte of all backups", verify},
    {"import", "dump.rdb | appendonlydir | HOST:PORT [--once] [-s SOCKET | -h HOST -p PORT]",
     "take over the data of a Redis, from its files or while it runs", import},
    {"config-sample", "", "a commented barewire.conf with every directive", sample},
    {"config-docs", "", "the table of directives as Markdown", docs},
    {"version", "", "print the version", version},
    {"help", "", "print this", help},
};
#define WORDS (sizeof words / sizeof words[0])

static void usage(FILE *to)
{
    fprintf(to, "Barewire %s: a Redis-compatible in-memory store over DPDK.\n\n", BAREWIRE_VERSION);
    for (size_t i = 0; i < WORDS; i++)
        fprintf(to, "  barewire %s %s\n      %s\n", words[i].name, words[i].arguments,
                words[i].what);
    fprintf(to, "\nExample, without any network card:\n"
                "  barewire run --unixsocket /tmp/barewire.sock --door-port 6390\n"
                "  redis-cli -p 6390 ping\n");
}

static int help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    usage(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        name = "help";
    if (!strcmp(name, "--version") || !strcmp(name, "-v"))
        name = "version";
    for (size_t i = 0; i < WORDS; i++)
        if (!strcmp(name, words[i].name))
            return words[i].fn(argc - 1, argv + 1);
    fprintf(stderr, "barewire: unknown word '%s'\n\n", name);
    usage(stderr);
    return 2;
}
