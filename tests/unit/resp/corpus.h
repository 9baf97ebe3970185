/* Streams and what they are, as probed on redis-server 7.0.15 over a raw socket: `requests` that were executed (an
 * empty one counts), then `error` ("" = the server waits for more). */
#pragma once

#include "engine/base/bytes.h"

struct corpus_entry {
    struct span wire;
    unsigned requests;
    const char *error;
};

#define PING       "*1\r\n$4\r\nPING\r\n"
#define BAD_COUNT  "Protocol error: invalid multibulk length"
#define BAD_LENGTH "Protocol error: invalid bulk length"
#define BAD_QUOTES "Protocol error: unbalanced quotes in request"
#define ENTRY(w, ...)                                      \
    {                                                      \
        {(const uint8_t *)(w), sizeof(w) - 1}, __VA_ARGS__ \
    }

static const struct corpus_entry corpus[] = {
    ENTRY(PING, 1, ""),
    ENTRY("*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n" PING, 2, ""),
    ENTRY("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", 1, ""),
    ENTRY("*2\r\n$4\r\nECHO\r\n$12\r\na\r\nb\0*$\r\n\r\n\n\r\n" PING, 2, ""),
    ENTRY("*12\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$"
          "1\r\nh\r\n$1\r\ni\r\n"
          "$1\r\nj\r\n$1\r\nk\r\n$1\r\nl\r\n" PING,
          2, ""),
    ENTRY("*1\r\n$120\r\n"
          "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
          "89012345678901234567890123456789\r\n" PING,
          2, ""),
    ENTRY("*0\r\n" PING, 2, ""),
    ENTRY("*-1\r\n" PING, 2, ""),
    ENTRY("*-9223372036854775808\r\n" PING, 2, ""),
    ENTRY("*-9223372036854775809\r\n", 0, BAD_COUNT),
    ENTRY("*abc\r\n" PING, 0, BAD_COUNT),
    ENTRY("*\r\n", 0, BAD_COUNT),
    ENTRY("*01\r\n$4\r\nPING\r\n", 0, BAD_COUNT),
    ENTRY("*00\r\n", 0, BAD_COUNT),
    ENTRY("*+1\r\n", 0, BAD_COUNT),
    ENTRY("* 1\r\n", 0, BAD_COUNT),
    ENTRY("*-0\r\n", 0, BAD_COUNT),
    ENTRY("*2147483647\r\n", 0, ""),
    ENTRY("*2147483648\r\n", 0, BAD_COUNT),
    ENTRY("*123456789012345678901234567890\r\n", 0, BAD_COUNT),
    ENTRY("*1\n$4\nPING\n", 0, ""),
    ENTRY("*1\n$4\nPING\n" PING, 0, BAD_COUNT),
    ENTRY("*1\rX$4\rYPINGab" PING, 2, ""),
    ENTRY("*1\0\r\n" PING, 0, ""),
    ENTRY("*1\r\n$4\0\r\nPING\r\n" PING, 0, ""),
    ENTRY("*1\r\n\0x\r\n", 0, ""),
    ENTRY("*1\r\n$-1\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$-0\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$ 5\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$04\r\nPING\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$00\r\n\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$4x\r\nPING\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$536870912\r\n", 0, ""),
    ENTRY("*1\r\n$536870913\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$99999999999999999999999\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n$9223372036854775807\r\n", 0, BAD_LENGTH),
    ENTRY("*1\r\n+5\r\n", 0, "Protocol error: expected '$', got '+'"),
    ENTRY("*1\r\n*1\r\n", 0, "Protocol error: expected '$', got '*'"),
    ENTRY("*1\r\nx\r\n", 0, "Protocol error: expected '$', got 'x'"),
    ENTRY("*1\r\n\r\nPING", 0, "Protocol error: expected '$', got ' '"),
    ENTRY("*1\r\n\nX\r\n", 0, "Protocol error: expected '$', got ' '"),
    ENTRY(PING "*2\r\n$4\r\nECHO\r\n!1\r\na\r\n", 1, "Protocol error: expected '$', got '!'"),
    ENTRY("*3\r\n$4\r\nECHO\r\n**********", 0, ""),
    ENTRY("", 0, ""),
    ENTRY("\r\n" PING, 2, ""),
    ENTRY("\n\n" PING, 3, ""),
    ENTRY("\r\r\nPING\n", 2, ""),
    ENTRY("PING\nPING\r\n  PING  \r\n", 3, ""),
    ENTRY("SET key value EX 10 NX GET\r\n", 1, ""),
    ENTRY("ECHO \"\\x41\\n\\q\"\r\n", 1, ""),
    ENTRY("ECHO 'a\\'b\\n'\r\n", 1, ""),
    ENTRY("ECHO \"abc\r\n" PING, 0, BAD_QUOTES),
    ENTRY("ECHO \"a\"b\r\n", 0, BAD_QUOTES),
    ENTRY("ECHO \"\\\"\n", 0, BAD_QUOTES),
    ENTRY("ECHO '\\'\n", 0, BAD_QUOTES),
    ENTRY("ECHO \"\\\n", 0, BAD_QUOTES),
    ENTRY("ECHO a\"b c\" d\r\n", 1, ""),
    ENTRY("ECHO a'b'\n", 1, ""),
    ENTRY("ECHO \"a\rb\"\n", 1, ""),
    ENTRY("ECHO \\n\n", 1, ""),
    ENTRY("ECHO \"\" ''\n", 1, ""),
    ENTRY("\"\"\n", 1, ""),
    ENTRY("PI\0NG\r\n" PING, 0, ""),
    ENTRY("\0\n", 0, ""),
    ENTRY("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 3, ""),
};
