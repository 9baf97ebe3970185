/* Runs a fuzz target over the files of a folder, and over each file with every byte turned and at every shorter
 * length: the committed corpus as a unit test, without libFuzzer and under any compiler. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (64 * 1024)

/* An exact-size copy for each run. */
static void run(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    memcpy(copy, data, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static size_t run_file(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    size_t n = fread(data, 1, sizeof(data), f), runs = 0;
    fclose(f);
    for (size_t len = 0; len <= n && n < 4096; len++, runs++)
        run(data, len);
    for (size_t i = 0; i < n && n < 4096; i++) {
        static const uint8_t turns[] = {0x01, 0x80, 0xff};
        for (size_t t = 0; t < sizeof(turns); t++, runs++) {
            data[i] ^= turns[t];
            run(data, n);
            data[i] ^= turns[t];
        }
    }
    run(data, n);
    return runs + 1;
}

int main(int argc, char **argv)
{
    size_t files = 0, runs = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            char path[4096];
            if (e->d_name[0] == '.')
                continue;
            snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
            size_t r = run_file(path);
            files += r > 0;
            runs += r;
        }
        closedir(dir);
    }
    printf("%zu inputs from %zu files\n", runs, files);
    /* An empty or misplaced corpus must not pass for a clean one. */
    return files ? 0 : 1;
}
