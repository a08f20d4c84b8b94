/*
 * DPDK's net_af_xdp driver: dpdk EAL-ARGUMENTS -- WORK…; port 0 is the interface. Built against Debian's libdpdk when
 * the benchmark runs. See work.h for the work.
 */
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "work.h"

#define MBUFS 16383

static struct rte_mempool *pool;
static struct rte_mbuf *frames[BURST];

static unsigned take(unsigned most)
{
    return rte_eth_rx_burst(0, 0, frames, (uint16_t)most);
}

static uint64_t number_of(unsigned frame)
{
    return *rte_pktmbuf_mtod(frames[frame], uint64_t *);
}

static void drop(unsigned count)
{
    rte_pktmbuf_free_bulk(frames, count);
}

static void send_back(unsigned count)
{
    for (unsigned sent = 0; sent < count;)
        sent += rte_eth_tx_burst(0, 0, frames + sent, (uint16_t)(count - sent));
}

static unsigned send_new(unsigned count, unsigned bytes, uint64_t first)
{
    struct rte_mbuf *new[BURST];
    if (rte_pktmbuf_alloc_bulk(pool, new, count) != 0)
        fail("no buffers");
    for (unsigned i = 0; i < count; i++) {
        new[i]->data_len = (uint16_t)bytes;
        new[i]->pkt_len = bytes;
        *rte_pktmbuf_mtod(new[i], uint64_t *) = first + i;
    }
    unsigned sent = rte_eth_tx_burst(0, 0, new, (uint16_t)count);
    if (sent < count)
        rte_pktmbuf_free_bulk(new + sent, count - sent);
    return sent;
}

int main(int argc, char **argv)
{
    struct rte_eth_conf conf;
    memset(&conf, 0, sizeof conf);
    int used = rte_eal_init(argc, argv);
    if (used < 0)
        fail("DPDK does not start");
    pool = rte_pktmbuf_pool_create("frames", MBUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool == NULL || rte_eth_dev_configure(0, 1, 1, &conf) != 0
        || rte_eth_rx_queue_setup(0, 0, 2048, SOCKET_ID_ANY, NULL, pool) != 0
        || rte_eth_tx_queue_setup(0, 0, 2048, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(0) != 0)
        fail("the port does not start");
    work(argc - used - 1, argv + used + 1);
}
