/*
 * Raw frames over DPDK's memif driver, for the benchmark: what bench/src/raw_memif.rs does over ours.
 *
 *   memif EAL-ARGUMENTS -- echo BYTES              answers every frame
 *   memif EAL-ARGUMENTS -- ping BYTES FRAMES       times round trips; prints p50, p99, p99.9 and the longest of half
 *   memif EAL-ARGUMENTS -- send BYTES              sends numbered frames
 *   memif EAL-ARGUMENTS -- receive BYTES MS        counts frames; prints frames in a second
 *
 * All go on until they are killed, the client first: its driver unmaps the rings under its poll loop when the server
 * goes. Port 0 is the memif. Built against Debian's libdpdk when the benchmark runs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define BURST 32
#define MBUFS 8191
#define WARM_UP 20000
#define GIVE_UP_AFTER UINT64_C(5000000000)

static struct rte_mempool *pool;
static uint16_t bytes;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static int link_is_up(void)
{
    struct rte_eth_link link;
    return rte_eth_link_get_nowait(0, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

static void open_port(void)
{
    struct rte_eth_conf conf;
    memset(&conf, 0, sizeof conf);
    pool = rte_pktmbuf_pool_create("frames", MBUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool == NULL || rte_eth_dev_configure(0, 1, 1, &conf) != 0
        || rte_eth_rx_queue_setup(0, 0, 512, SOCKET_ID_ANY, NULL, pool) != 0
        || rte_eth_tx_queue_setup(0, 0, 512, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(0) != 0)
        fail("the port does not start");
    for (int i = 0; !link_is_up(); i++) {
        if (i == 10000)
            fail("nobody at the other end");
        rte_delay_us_sleep(1000);
    }
}

static void number_frame(struct rte_mbuf *m, uint64_t number)
{
    m->data_len = bytes;
    m->pkt_len = bytes;
    *rte_pktmbuf_mtod(m, uint64_t *) = number;
}

static uint64_t number_of(struct rte_mbuf *m)
{
    return *rte_pktmbuf_mtod(m, uint64_t *);
}

static void echo(void)
{
    struct rte_mbuf *frames[BURST];
    for (;;) {
        uint16_t got = rte_eth_rx_burst(0, 0, frames, BURST);
        for (uint16_t sent = 0; sent < got;)
            sent += rte_eth_tx_burst(0, 0, frames + sent, got - sent);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void ping(uint64_t count)
{
    uint64_t *ticks = calloc(count, sizeof *ticks);
    if (ticks == NULL || count == 0)
        fail("no memory for that many frames");
    for (uint64_t i = 0; i < count + WARM_UP; i++) {
        struct rte_mbuf *m = rte_pktmbuf_alloc(pool), *answer;
        if (m == NULL)
            fail("no buffer");
        uint64_t start = rte_rdtsc();
        number_frame(m, i);
        uint64_t polls = 0;
        /* At first the client has not posted its buffers yet. */
        while (rte_eth_tx_burst(0, 0, &m, 1) == 0)
            if (++polls == GIVE_UP_AFTER)
                fail("no room for a single frame");
        while (rte_eth_rx_burst(0, 0, &answer, 1) == 0)
            if (++polls == GIVE_UP_AFTER)
                fail("no answer");
        uint64_t took = rte_rdtsc() - start;
        if (number_of(answer) != i)
            fail("another frame than the one sent");
        rte_pktmbuf_free(answer);
        if (i >= WARM_UP)
            ticks[i - WARM_UP] = took;
    }
    qsort(ticks, count, sizeof *ticks, by_value);
    double half_ns = 1e9 / (double)rte_get_tsc_hz() / 2;
    printf("%.1f %.1f %.1f %.1f\n", (double)ticks[count / 2] * half_ns, (double)ticks[count / 100 * 99] * half_ns,
           (double)ticks[count / 1000 * 999] * half_ns, (double)ticks[count - 1] * half_ns);
}

static void send_frames(void)
{
    struct rte_mbuf *frames[BURST];
    uint64_t number = 0;
    for (;;) {
        if (rte_pktmbuf_alloc_bulk(pool, frames, BURST) != 0)
            fail("no buffers");
        for (int i = 0; i < BURST; i++)
            number_frame(frames[i], number + i);
        uint16_t sent = rte_eth_tx_burst(0, 0, frames, BURST);
        number += sent;
        if (sent < BURST)
            rte_pktmbuf_free_bulk(frames + sent, BURST - sent);
    }
}

static void receive_frames(uint64_t ms)
{
    struct rte_mbuf *frames[BURST];
    uint64_t hz = rte_get_tsc_hz(), start = rte_rdtsc(), end = UINT64_MAX, next = 0, first = 0;
    int warm = 0;
    for (;;) {
        for (int i = 0; i < 100; i++) {
            uint16_t got = rte_eth_rx_burst(0, 0, frames, BURST);
            for (uint16_t k = 0; k < got; k++)
                if (number_of(frames[k]) != next++)
                    fail("a frame was lost or came out of order");
            rte_pktmbuf_free_bulk(frames, got);
        }
        uint64_t now = rte_rdtsc();
        if (!warm && now - start > hz / 10) {
            warm = 1;
            start = now;
            first = next;
            end = now + hz / 1000 * ms;
        }
        if (now >= end) {
            printf("%.0f\n", (double)(next - first) * (double)hz / (double)(now - start));
            return;
        }
    }
}

int main(int argc, char **argv)
{
    int used = rte_eal_init(argc, argv);
    if (used < 0)
        fail("DPDK does not start");
    argc -= used;
    argv += used;
    if (argc < 3)
        fail("what to do with frames of how many bytes?");
    bytes = (uint16_t)atoi(argv[2]);
    uint64_t amount = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (bytes < sizeof(uint64_t) || bytes > 2048)
        fail("frames of 8 to 2048 bytes");
    open_port();
    if (strcmp(argv[1], "echo") == 0)
        echo();
    else if (strcmp(argv[1], "ping") == 0)
        ping(amount);
    else if (strcmp(argv[1], "send") == 0)
        send_frames();
    else if (strcmp(argv[1], "receive") == 0)
        receive_frames(amount);
    else
        fail("neither echo, ping, send nor receive");
    fflush(stdout);
    for (;;)
        pause();
}
