/* When memory fails, for every command: a line of each command of the data types and of keys, with each of its allocations failing in turn
 * (memory_script.h). What makes the script complete is the table of commands: one that no line names fails the test. The cases of one
 * type in depth are those of its own test. */
#include <stdio.h>
#include <string.h>

#include "engine/base/assert.h"
#include "tests/unit/cmd/memory_script.h"
#include "tests/unit/unit.h"

#define B10  "bbbbbbbbbb"
#define B100 B10 B10 B10 B10 B10 B10 B10 B10 B10 B10
#define B700 B100 B100 B100 B100 B100 B100 B100
#define PAYLOAD                                                                                    \
    "\"\\x12\\x01\\x02\\x0f\\x0f\\x00\\x00\\x00\\x03\\x00\\x81\\x61\\x02\\x81\\x62\\x02\\x01\\x01" \
    "\\xff\\x0a\\x00"                                                                              \
    "\\xe0\\x1b\\xab\\x4a\\x47\\xce\\x59\\x22\""

static const char *const setup[] = {
    "SET text hello",
    "SET long " B700,
    "SET number 41",
    "SET lower ohmytext",
    "RPUSH list a b c 3 2 1",
    "RPUSH longlist " B700 " " B700 " " B700 " x",
    "SADD set a b c d 1 2",
    "SADD ints 1 2 3 4",
    "SADD longset a " B700 " c",
    "ZADD zset 1 a 2 b 3 c 4 d",
    "ZADD longzset 1 a 2 " B700 " 3 c",
    "HSET hash f v g 7 h 1.5",
    "HSET longhash f v g " B700 " n 7",
    "HSET timed f v g w",
    "HPEXPIRE timed 100000 FIELDS 1 f",
    "PFADD hll a b c",
    "PFADD hll2 x y z",
    "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "XADD stream 1-1 f v",
    "XADD stream 2-1 f w",
    "XADD stream 3-1 g " B700,
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group one COUNT 2 STREAMS stream >",
    NULL};
static const char *const keys[] = {
    "text",     "long", "number",   "lower", "list", "longlist", "set", "ints",   "longset", "zset",
    "longzset", "hash", "longhash", "timed", "hll",  "hll2",     "geo", "stream", "new",     NULL};
static const char *const lines[] = {
    /* strings */
    "APPEND text " B700, "DECR number", "DECRBY number 3", "DELIFEQ text hello", "GET long",
    "GETDEL long", "GETEX text EX 100", "GETRANGE long 1 600", "GETSET text " B700, "INCR number",
    "INCRBY number 5", "INCRBYFLOAT number 1.5", "LCS text lower", "LCS long text IDX WITHMATCHLEN",
    "MGET text long number", "MSET new " B700 " text x", "MSETNX new " B700, "PSETEX new 100 v",
    "SET new " B700, "SET text v XX GET PX 1000", "SETEX new 100 " B700, "SETNX new " B700,
    "SETRANGE text 1000 x", "STRLEN long", "SUBSTR text 0 2",
    /* bits */
    "BITCOUNT long", "BITFIELD new SET u8 5000 7 GET u8 0", "BITFIELD_RO text GET u8 0",
    "BITOP XOR new text long", "BITPOS long 1", "GETBIT long 4", "SETBIT text 9000 1",
    /* estimates */
    "PFADD new a b c", "PFADD hll d e f", "PFCOUNT hll hll2", "PFMERGE new hll hll2",
    "PFDEBUG TODENSE hll", "PFSELFTEST",
    /* lists */
    "BLMOVE list new LEFT RIGHT 0", "BLMPOP 0 2 new list LEFT COUNT 2", "BLPOP new longlist 0",
    "BRPOP new longlist 0", "BRPOPLPUSH longlist new 0", "BLPOP new none 0",
    "BLMOVE none new LEFT LEFT 0", "LINDEX longlist 2", "LINSERT list BEFORE b " B700, "LLEN list",
    "LMOVE list longlist LEFT LEFT", "LMPOP 2 new longlist RIGHT COUNT 3", "LPOP longlist 2",
    "LPOS longlist x", "LPUSH list " B700, "LPUSHX list " B700, "LRANGE longlist 0 -1",
    "LREM longlist 0 " B700, "LSET list 1 " B700, "LTRIM longlist 1 1", "RPOP list",
    "RPOPLPUSH longlist list", "RPUSH new " B700, "RPUSHX list " B700,
    /* sets */
    "SADD new " B700, "SCARD set", "SDIFF set ints", "SDIFFSTORE new set ints",
    "SINTER set longset", "SINTERCARD 2 set ints", "SINTERSTORE new set longset",
    "SISMEMBER longset c", "SMEMBERS longset", "SMISMEMBER set a x", "SMOVE longset new " B700,
    "SPOP set 3", "SRANDMEMBER longset -5", "SREM longset a", "SSCAN longset 0",
    "SUNION set longset", "SUNIONSTORE new set ints",
    /* sorted sets */
    "BZMPOP 0 2 new zset MIN COUNT 2", "BZPOPMAX new zset 0", "BZPOPMIN new longzset 0",
    "BZPOPMIN new none 0", "ZADD new 1 " B700, "ZCARD zset", "ZCOUNT zset 1 2",
    "ZDIFF 2 longzset zset WITHSCORES", "ZDIFFSTORE new 2 longzset zset", "ZINCRBY longzset 5 a",
    "ZINTER 2 zset longzset", "ZINTERCARD 2 zset longzset", "ZINTERSTORE new 2 zset longzset",
    "ZLEXCOUNT zset - +", "ZMPOP 2 new longzset MAX COUNT 2", "ZMSCORE zset a x",
    "ZPOPMAX longzset 2", "ZPOPMIN zset", "ZRANDMEMBER longzset -4 WITHSCORES",
    "ZRANGE longzset 0 -1 REV", "ZRANGEBYLEX zset - + LIMIT 1 2",
    "ZRANGEBYSCORE zset 1 3 WITHSCORES", "ZRANGESTORE new longzset 0 -1", "ZRANK longzset c",
    "ZREM longzset a", "ZREMRANGEBYLEX zset [a [b", "ZREMRANGEBYRANK longzset 0 1",
    "ZREMRANGEBYSCORE longzset 1 2", "ZREVRANGE zset 0 1", "ZREVRANGEBYLEX zset + -",
    "ZREVRANGEBYSCORE zset 3 1", "ZREVRANK zset a", "ZSCAN longzset 0", "ZSCORE longzset a",
    "ZUNION 2 zset longzset", "ZUNIONSTORE new 2 zset longzset WEIGHTS 2 3 AGGREGATE MAX",
    /* hashes */
    "HDEL longhash f", "HEXISTS hash f", "HGET longhash g", "HGETALL longhash", "HINCRBY hash g 5",
    "HINCRBYFLOAT longhash n 1.5", "HKEYS hash", "HLEN hash", "HMGET hash f x",
    "HMSET hash f " B700 " x y", "HRANDFIELD longhash -4 WITHVALUES", "HSCAN longhash 0",
    "HSET new f " B700, "HSETNX longhash x y", "HSTRLEN hash f", "HVALS longhash",
    "HEXPIRE hash 100 FIELDS 1 f", "HPEXPIRE longhash 1000 FIELDS 2 f g",
    "HEXPIREAT hash 99999999999 FIELDS 1 f", "HPEXPIREAT timed 9999999999999 FIELDS 1 g",
    "HTTL timed FIELDS 2 f g", "HPTTL timed FIELDS 1 f", "HEXPIRETIME timed FIELDS 1 f",
    "HPEXPIRETIME timed FIELDS 1 f", "HPERSIST timed FIELDS 1 f", "HGETEX hash EX 100 FIELDS 1 f",
    "HSETEX hash EX 100 FIELDS 1 f " B700, "HGETDEL timed FIELDS 1 f",
    /* places */
    "GEOADD geo 1 2 x", "GEODIST geo Palermo Catania", "GEOHASH geo Palermo",
    "GEOPOS geo Palermo x", "GEORADIUS geo 15 37 200 km WITHDIST STORE new",
    "GEORADIUS_RO geo 15 37 200 km", "GEORADIUSBYMEMBER geo Palermo 200 km",
    "GEORADIUSBYMEMBER_RO geo Palermo 200 km",
    "GEOSEARCH geo FROMLONLAT 15 37 BYBOX 400 400 km ASC",
    "GEOSEARCHSTORE new geo FROMLONLAT 15 37 BYRADIUS 200 km",
    /* streams */
    "XACK stream group 1-1", "XADD stream MAXLEN 2 * f " B700, "XAUTOCLAIM stream group two 0 0",
    "XCLAIM stream group two 0 1-1 3-1 FORCE", "XDEL stream 2-1",
    "XGROUP CREATE new group $ MKSTREAM", "XGROUP CREATECONSUMER stream group two",
    "XGROUP DELCONSUMER stream group one", "XGROUP DESTROY stream group",
    "XGROUP SETID stream group 0", "XINFO CONSUMERS stream group", "XINFO GROUPS stream",
    "XINFO STREAM stream FULL", "XLEN stream", "XPENDING stream group - + 10", "XRANGE stream - +",
    "XREAD COUNT 2 STREAMS stream 0", "XREAD BLOCK 0 STREAMS stream $",
    "XREADGROUP GROUP group two STREAMS stream >", "XREVRANGE stream + -", "XSETID stream 9-9",
    "XTRIM stream MAXLEN 1",
    /* keys */
    "COPY longlist new", "COPY longzset new", "DEL longlist", "DUMP longlist", "DUMP stream",
    "EXISTS text new", "EXPIRE text 100", "EXPIREAT text 99999999999", "EXPIRETIME text", "KEYS *",
    "MOVE text 1", "OBJECT ENCODING list", "OBJECT FREQ text", "OBJECT IDLETIME text",
    "OBJECT REFCOUNT text", "PERSIST text", "PEXPIRE long 1000", "PEXPIREAT long 9999999999999",
    "PEXPIRETIME text", "PTTL text", "RANDOMKEY", "RENAME longlist new", "RENAMENX longhash new",
    "RESTORE new 0 " PAYLOAD, "SCAN 0", "SORT list ALPHA DESC STORE new", "SORT longlist ALPHA",
    "SORT_RO list ALPHA", "TOUCH text", "TTL text", "TYPE text", "UNLINK longhash", NULL};

static bool partial(const char *line)
{
    return strncmp(line, "DEL", 3) == 0 || strncmp(line, "UNLINK", 6) == 0 ||
           strncmp(line, "MSET", 4) == 0;
}

static void every_allocation_of_every_command_fails(void **state)
{
    const struct memory_script m = {setup, keys, lines, partial, NULL};
    size_t one = memory_script_run(&m, 1), three = memory_script_run(&m, 3);
    print_message("%zu lines, %zu and %zu failed allocations\n", ARRAY_LEN(lines) - 1, one, three);
    assert_true(one > 250 && three > 250);
}

/* ---- the script is complete ---- */

static bool named(const struct cmd_desc *d)
{
    size_t n = strlen(d->full);
    for (const char *const *line = lines; *line; line++) {
        char word[64] = "";
        memcpy(word, *line, strnlen(*line, sizeof(word) - 1));
        if (word[n] != ' ' && word[n] != 0)
            continue;
        word[n] = 0;
        if (d->parent && word[strlen(d->parent->name)] == ' ')
            word[strlen(d->parent->name)] = '|';
        if (strcasecmp(word, d->full) == 0)
            return true;
    }
    return false;
}

static void every_command_is_named(void **state)
{
    static const char *const groups[] = {"string", "bitmap",     "hyperloglog", "list",
                                         "set",    "sorted-set", "hash",        "geo",
                                         "stream", "generic"};
    size_t n = 0, missing = 0;
    for (size_t i = 0; i < CMD_COUNT; i++) {
        const struct cmd_desc *d = &cmd_table[i];
        const char *group = cmd_details[i].doc.group;
        bool ours = false;
        for (size_t g = 0; group && g < ARRAY_LEN(groups); g++)
            ours |= strcmp(group, groups[g]) == 0;
        if (!ours || !d->name || d->nsubs || !d->fn || strcmp(d->name, "help") == 0 ||
            strncmp(d->name, "wait", 4) == 0)
            continue; /* containers, their help; WAIT and WAITAOF touch no value */
        n++;
        if (!named(d)) {
            print_message("no line names %s\n", d->full);
            missing++;
        }
    }
    print_message("%zu commands\n", n);
    assert_int_equal(missing, 0);
    assert_true(n > 180);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_named),
        cmocka_unit_test(every_allocation_of_every_command_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
