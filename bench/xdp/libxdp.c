/*
 * The helpers of libxdp, as its examples use them: libxdp INTERFACE WORK…; queue 0, and libxdp's own program to redirect
 * frames. Built against Debian's libxdp when the benchmark runs. See work.h for the work.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

#include "work.h"

#define HALF 2048
#define FRAME XSK_UMEM__DEFAULT_FRAME_SIZE

static struct xsk_ring_prod fill, tx;
static struct xsk_ring_cons done, rx;
static struct xsk_socket *socket_of;
static char *area;
/* Free sending buffers: a stack. */
static uint64_t spare[HALF];
static unsigned spares;
/* What was taken. */
static struct xdp_desc taken[BURST];

static unsigned take(unsigned most)
{
    uint32_t at;
    unsigned got = xsk_ring_cons__peek(&rx, most, &at);
    for (unsigned i = 0; i < got; i++)
        taken[i] = *xsk_ring_cons__rx_desc(&rx, at + i);
    if (got)
        xsk_ring_cons__release(&rx, got);
    return got;
}

static uint64_t number_of(unsigned frame)
{
    return *(uint64_t *)(area + taken[frame].addr);
}

static void drop(unsigned count)
{
    uint32_t at;
    /* There is always room: the ring is as long as there are buffers. */
    while (xsk_ring_prod__reserve(&fill, count, &at) != count)
        ;
    for (unsigned i = 0; i < count; i++)
        *xsk_ring_prod__fill_addr(&fill, at + i) = taken[i].addr & ~(uint64_t)(FRAME - 1);
    xsk_ring_prod__submit(&fill, count);
}

static void collect(void)
{
    uint32_t at;
    unsigned back = xsk_ring_cons__peek(&done, HALF, &at);
    for (unsigned i = 0; i < back; i++)
        spare[spares++] = *xsk_ring_cons__comp_addr(&done, at + i) & ~(uint64_t)(FRAME - 1);
    if (back)
        xsk_ring_cons__release(&done, back);
}

static void kick(void)
{
    if (xsk_ring_prod__needs_wakeup(&tx))
        sendto(xsk_socket__fd(socket_of), NULL, 0, MSG_DONTWAIT, NULL, 0);
}

/* Sends `count` frames of `bytes` that `from` fills in. */
static unsigned send_some(unsigned count, unsigned bytes, uint64_t first, int back)
{
    uint32_t at;
    collect();
    if (spares < count || xsk_ring_prod__reserve(&tx, count, &at) != count) {
        kick();
        return 0;
    }
    for (unsigned i = 0; i < count; i++) {
        struct xdp_desc *desc = xsk_ring_prod__tx_desc(&tx, at + i);
        desc->addr = spare[--spares];
        desc->len = back ? taken[i].len : bytes;
        desc->options = 0;
        if (back)
            memcpy(area + desc->addr, area + taken[i].addr, taken[i].len);
        else
            *(uint64_t *)(area + desc->addr) = first + i;
    }
    xsk_ring_prod__submit(&tx, count);
    kick();
    return count;
}

static void send_back(unsigned count)
{
    while (send_some(count, 0, 0, 1) == 0)
        ;
    drop(count);
}

static unsigned send_new(unsigned count, unsigned bytes, uint64_t first)
{
    return send_some(count, bytes, first, 0);
}

int main(int argc, char **argv)
{
    const struct xsk_umem_config memory = {
        .fill_size = HALF,
        .comp_size = HALF,
        .frame_size = FRAME,
    };
    const struct xsk_socket_config config = {
        .rx_size = HALF,
        .tx_size = HALF,
        .bind_flags = XDP_USE_NEED_WAKEUP,
    };
    struct xsk_umem *umem;
    uint32_t at = 0;
    if (argc < 3)
        fail("which interface?");
    area = mmap(NULL, 2 * HALF * FRAME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED || xsk_umem__create(&umem, area, 2 * HALF * FRAME, &fill, &done, &memory) != 0
        || xsk_socket__create(&socket_of, argv[1], 0, umem, &rx, &tx, &config) != 0)
        fail("no AF_XDP socket");
    if (xsk_ring_prod__reserve(&fill, HALF, &at) != HALF)
        fail("a fill ring that is too short");
    for (unsigned i = 0; i < HALF; i++)
        *xsk_ring_prod__fill_addr(&fill, at + i) = (uint64_t)i * FRAME;
    xsk_ring_prod__submit(&fill, HALF);
    while (spares < HALF) {
        spare[spares] = (uint64_t)(HALF + spares) * FRAME;
        spares++;
    }
    work(argc - 2, argv + 2);
}
