/*
 * Raw frames over an AF_XDP socket, for the benchmark: what bench/src/raw_xdp.rs does over our driver, over one of a
 * peer. The peer's file says how frames are taken and sent; this one what for:
 *
 *   PROGRAM … echo BYTES              answers every frame
 *   PROGRAM … ping BYTES FRAMES       times round trips; prints p50, p99, p99.9 and the longest of half, in ns
 *   PROGRAM … send BYTES              sends numbered frames
 *   PROGRAM … count BYTES MS          counts frames from the first on; prints frames in a second
 *
 * All say "ready" first, and go on until they are killed. Frames may be lost on the way where one side is faster than the other.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define BURST 32
#define WARM_UP 20000

/* Takes up to `most` frames; they are kept until one of the next three is called. */
static unsigned take(unsigned most);
static uint64_t number_of(unsigned frame);
static void drop(unsigned frames);
/* Sends them back, all of them, however long it takes. */
static void send_back(unsigned frames);
/* Sends new frames of so many bytes, the first numbered so; returns how many there was room for. */
static unsigned send_new(unsigned frames, unsigned bytes, uint64_t first);

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Ticks of the processor's counter in a nanosecond. */
static double ticks_per_ns(void)
{
    uint64_t ns = clock_ns(), ticks = __rdtsc();
    while (clock_ns() - ns < 50000000)
        ;
    return (double)(__rdtsc() - ticks) / (double)(clock_ns() - ns);
}

static void echo(void)
{
    for (;;) {
        unsigned got = take(BURST);
        if (got)
            send_back(got);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void ping(unsigned bytes, uint64_t count)
{
    uint64_t *ticks = calloc(count, sizeof *ticks);
    double rate = ticks_per_ns();
    if (ticks == NULL || count == 0)
        fail("no memory for that many frames");
    for (uint64_t i = 0; i < count + WARM_UP; i++) {
        uint64_t start = __rdtsc(), again = start;
        while (send_new(1, bytes, i) == 0)
            ;
        for (;;) {
            if (take(1)) {
                uint64_t number = number_of(0);
                drop(1);
                if (number == i)
                    break;
            }
            /* At first nobody may be there. */
            if (__rdtsc() - again > (uint64_t)(rate * 20e6)) {
                again = __rdtsc();
                send_new(1, bytes, i);
            }
        }
        if (i >= WARM_UP)
            ticks[i - WARM_UP] = __rdtsc() - start;
    }
    qsort(ticks, count, sizeof *ticks, by_value);
    double half = 0.5 / rate;
    printf("%.1f %.1f %.1f %.1f\n", (double)ticks[count / 2] * half, (double)ticks[count / 100 * 99] * half,
           (double)ticks[count / 1000 * 999] * half, (double)ticks[count - 1] * half);
}

static void send_frames(unsigned bytes)
{
    for (uint64_t number = 0;;)
        number += send_new(BURST, bytes, number);
}

static void count(uint64_t ms)
{
    uint64_t frames = 0, from = 0, warm = 0, end = UINT64_MAX;
    for (;;) {
        for (int i = 0; i < 100; i++) {
            unsigned got = take(BURST);
            uint64_t seen = 0;
            for (unsigned k = 0; k < got; k++)
                seen |= number_of(k);
            if (seen == UINT64_MAX)
                fail("frames of ones only");
            frames += got;
            if (got)
                drop(got);
        }
        uint64_t now = clock_ns();
        if (frames && !warm)
            warm = now + 100000000;
        if (warm && now >= warm && end == UINT64_MAX) {
            warm = now;
            from = frames;
            end = now + ms * 1000000;
        }
        if (now >= end) {
            printf("%.0f\n", (double)(frames - from) * 1e9 / (double)(now - warm));
            return;
        }
    }
}

/* What is left of the command line when the socket is open. */
static _Noreturn void work(int argc, char **argv)
{
    if (argc < 2)
        fail("what to do with frames of how many bytes?");
    unsigned bytes = (unsigned)atoi(argv[1]);
    uint64_t amount = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (bytes < 60 || bytes > 1514)
        fail("frames of 60 to 1514 bytes");
    puts("ready");
    fflush(stdout);
    if (strcmp(argv[0], "echo") == 0)
        echo();
    else if (strcmp(argv[0], "ping") == 0)
        ping(bytes, amount);
    else if (strcmp(argv[0], "send") == 0)
        send_frames(bytes);
    else if (strcmp(argv[0], "count") == 0)
        count(amount);
    else
        fail("neither echo, ping, send nor count");
    fflush(stdout);
    for (;;)
        pause();
}
