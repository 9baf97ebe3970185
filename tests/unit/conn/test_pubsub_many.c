/* Many subscribers and messages: every one arrives, in order, or is counted.
 *
 *     test_conn_pubsub_many [SUBSCRIBERS MESSAGES]      10,000 and 100,000 when nothing is said
 *
 * Two subscribers on each channel, on different workers; every tenth conflates and does not read for a while. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS    4
#define PUBLISHERS 256

static uint32_t subscribers = 10000, messages = 100000;
static struct worker *workers[WORKERS];
static struct net *nets[WORKERS];
static uint64_t now_ns = 1000000000;

static void turn_all(int n)
{
    for (; n > 0; n--) {
        for (uint32_t i = 0; i < WORKERS; i++) {
            now_ns += 1000;
            worker_turn(workers[i], now_ns, 1700000000000000ll + (int64_t)(now_ns / 1000));
        }
    }
}

static bool lags(uint32_t sub)
{
    return sub % 10 == 3;
}

/* Of each message the last eight bytes are its number on the channel and CRLF. Returns how many. */
static uint64_t check(const struct tcp_conn *tc, uint32_t channel, uint32_t sent, bool some_lost)
{
    char head[96];
    snprintf(head, sizeof(head), "*3\r\n$7\r\nmessage\r\n$8\r\nch%06u\r\n$6\r\n", channel);
    size_t n = strlen(head), each = n + 8;
    uint64_t got = 0;
    long last = -1;
    assert_int_equal(tc->out_len % each, 0);
    for (size_t at = 0; at < tc->out_len; at += each, got++) {
        assert_memory_equal(tc->out + at, head, n);
        long number = strtol((char *)tc->out + at + n, NULL, 10);
        assert_true(some_lost ? number > last : number == last + 1);
        last = number;
    }
    assert_int_equal(last, (long)sent - 1);
    return got;
}

static uint64_t given(void)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < WORKERS; i++)
        n += workers[i]->stats->pubsub_messages;
    return n;
}

static void every_message_arrives_or_is_counted(void **state)
{
    (void)state;
    struct engine_config config;
    engine_config_defaults(&config);
    config.protected_mode = 0;
    config.maxclients = 1 << 20;
    for (uint32_t i = 0; i < WORKERS; i++) {
        fake_worker(workers, i, WORKERS, &config, NULL);
        nets[i] = fake_last_net();
    }
    uint32_t channels = subscribers / 2;
    struct tcp_conn **sub = calloc(subscribers, sizeof(struct tcp_conn *)), *pub[PUBLISHERS];
    uint32_t *sent = calloc(channels, sizeof(*sent));
    assert_non_null(sub);
    assert_non_null(sent);
    char text[96];
    for (uint32_t i = 0; i < subscribers; i++) {
        sub[i] = fake_connect(nets[(i + i / channels) % WORKERS]);
        assert_non_null(sub[i]);
        snprintf(text, sizeof(text), "%sSUBSCRIBE ch%06u\r\n",
                 lags(i) ? "CLIENT CONFLATE ON\r\n" : "", i % channels);
        say(sub[i], text);
    }
    turn_all(3);
    for (uint32_t i = 0; i < subscribers; i++) {
        sub[i]->out_len = 0;
        if (lags(i))
            sub[i]->window = 0;
    }
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        pub[i] = fake_connect(nets[i % WORKERS]);
    clock_t start = clock();
    for (uint32_t done = 0; done < messages;) {
        for (uint32_t i = 0; i < PUBLISHERS * 32 && done < messages; i++, done++) {
            uint32_t channel = (done * 7919u) % channels; /* of one publisher always */
            snprintf(text, sizeof(text), "PUBLISH ch%06u %06u\r\n", channel, sent[channel]++);
            say(pub[channel % PUBLISHERS], text);
        }
        turn_all(3);
        for (uint32_t i = 0; i < PUBLISHERS; i++)
            pub[i]->out_len = 0;
    }
    for (int k = 0; k < 10000 && given() < 2ull * messages; k++)
        turn_all(1); /* rings are longer than what a turn takes from them */
    turn_all(5);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    for (uint32_t i = 0; i < subscribers; i++)
        if (lags(i))
            fake_open_window(sub[i], SIZE_MAX);
    turn_all(5);
    uint64_t got = 0, conflated = 0;
    for (uint32_t i = 0; i < subscribers; i++) {
        if (sent[i % channels])
            got += check(sub[i], i % channels, sent[i % channels], lags(i));
        fake_reset(sub[i]);
        fake_free(sub[i]);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        conflated += workers[i]->stats->pubsub_conflated;
    assert_int_equal(given(), 2ull * messages);
    assert_int_equal(got + conflated, given());
    printf("%u subscribers, %u messages: %llu delivered, %llu conflated, %.1f s\n", subscribers,
           messages, (unsigned long long)got, (unsigned long long)conflated, seconds);
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        fake_reset(pub[i]);
        fake_free(pub[i]);
    }
    turn_all(3);
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
    free(sub);
    free(sent);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        subscribers = (uint32_t)strtoul(argv[1], NULL, 10);
        messages = (uint32_t)strtoul(argv[2], NULL, 10);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_message_arrives_or_is_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
