/* pair.c: two stacks for tests of whole connections. Picture: wire.h. */
#include "tests/unit/net/pair.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/check.h"

void pair_up(struct pair *p, uint64_t seed, const struct nic *peer, const struct nic *nic,
             void (*tune)(struct net_config *c, bool server))
{
    struct net_config cc, cs;
    memset(p, 0, sizeof(*p));
    p->client = malloc(sizeof(*p->client));
    p->server = malloc(sizeof(*p->server));
    wire_init(&p->w, seed);
    wire_config(&cc, IP_A);
    wire_config(&cs, IP_B);
    cs.listen_port = 6379;
    if (tune) {
        tune(&cc, false);
        tune(&cs, true);
    }
    stream_app_init(p->client);
    stream_app_init(p->server);
    p->hc = peer ? wire_host_nic(&p->w, &cc, &p->client->app, peer)
                 : wire_host_net(&p->w, &cc, &p->client->app);
    p->hs = nic ? wire_host_nic(&p->w, &cs, &p->server->app, nic)
                : wire_host_net(&p->w, &cs, &p->server->app);
    stream_app_attach(p->client, p->hc);
    stream_app_attach(p->server, p->hs);
    p->hc->impair.delay_ns = p->hs->impair.delay_ns = 50000;
}

void pair_down(struct pair *p)
{
    wire_fini(&p->w);
    free(p->client);
    free(p->server);
}

struct stream *pair_connect(struct pair *p, uint64_t up, uint64_t down)
{
    struct stream *s = &p->client->stream[p->client->used++];
    *s = (struct stream){
        .host = p->hc, .tx_seed = 7, .rx_seed = 9, .tx_total = up, .rx_total = down};
    p->server->accept_as = (struct stream){
        .tx_seed = 9, .rx_seed = 7, .tx_total = down, .rx_total = up, .close_on_peer_close = true};
    s->tc = tcp_connect_to(p->hc->net, wire_v6() ? wire_ip6(IP_B) : ip_from_v4(IP_B), 6379, 0, s,
                           p->w.now_ns);
    assert_non_null(s->tc);
    p->c = s;
    return s;
}
