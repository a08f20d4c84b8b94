/*
 * On the two ends of a stack's veth where no XDP is: what the stack sends over its end leaves by the interface that it
 * shares, and what comes there goes no further than to the stack's packet socket.
 */
#define TRAFFIC_CONTROL
#include "bpf.h"

/* That interface. */
struct {
    NUMBER(type, MAP_ARRAY);
    NUMBER(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, u32);
} leaves_by SEC(".maps");

/* For the near end. */
SEC("classifier") int relay(struct context *ctx)
{
    u32 first = 0;
    const u32 *ifindex = map_lookup(&leaves_by, &first);
    (void)ctx;
    return ifindex ? redirect(*ifindex, 0) : TC_DROP;
}

/* For the stack's end, after packet sockets have seen the frame: the kernel there has nothing to say to it. */
SEC("classifier") int swallow(struct context *ctx)
{
    (void)ctx;
    return TC_DROP;
}

char licence[] SEC("license") = "MIT OR Apache-2.0";
