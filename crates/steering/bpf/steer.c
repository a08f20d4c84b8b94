/*
 * Which frames of an interface go to an AF_XDP socket; all others go on to the kernel as if nobody had looked.
 *
 * Ours are TCP and UDP packets, IPv4 or IPv6, untagged or in a VLAN, to a local (address, port) that the agent has
 * entered. Fragments are not, since only the first of them has ports; nor is anything with IPv6 extension headers, nor
 * what the interface hears that is for another station. See crates/steering/src/flow.rs for the keys.
 */
#include "bpf.h"

/* Sockets of one stack: one a queue. The same as in crates/steering/src/lib.rs. */
#define QUEUES 64
#define STACKS 64
#define FLOWS 65536
#define ADDRESSES 4096

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17

struct ethernet {
    u8 to[6];
    u8 from[6];
    u16 type;
} __attribute__((packed));

struct tag {
    u16 control;
    u16 type;
} __attribute__((packed));

struct ipv4 {
    u8 version_and_words;
    u8 service;
    u16 bytes;
    u16 id;
    u16 fragment;
    u8 hops;
    u8 protocol;
    u16 checksum;
    u32 from;
    u32 to;
} __attribute__((packed));

struct ipv6 {
    u32 version_and_flow;
    u16 bytes;
    u8 next;
    u8 hops;
    u32 from[4];
    u32 to[4];
} __attribute__((packed));

struct ports {
    u16 from;
    u16 to;
} __attribute__((packed));

/* An address of this host; IPv4 ones as ::ffff:a.b.c.d. Of a flow all zeros where it takes every address. */
struct flow {
    u32 address[4];
    u16 port; /* as in the packet */
    u16 vlan; /* in the processor's order; 0 where there is no tag */
    u8 protocol;
    u8 zero[3];
};

struct settings {
    u32 everything_to; /* stack + 1 that takes all frames; 0: by flow */
    u8 station[6];     /* the interface's address */
    u8 zero[2];
};

struct counters {
    u64 redirected;
    u64 passed;
};

struct {
    NUMBER(type, MAP_HASH);
    NUMBER(max_entries, FLOWS);
    NUMBER(map_flags, NO_PREALLOC);
    TYPE(key, struct flow);
    TYPE(value, u32);
} flows SEC(".maps");

/* Addresses of this host, for flows that take every one of them: a router's other traffic is none of theirs. */
struct {
    NUMBER(type, MAP_HASH);
    NUMBER(max_entries, ADDRESSES);
    NUMBER(map_flags, NO_PREALLOC);
    NUMBER(key_size, 16);
    NUMBER(value_size, 4);
} addresses SEC(".maps");

struct {
    NUMBER(type, MAP_XSKMAP);
    NUMBER(max_entries, STACKS *QUEUES);
    NUMBER(key_size, 4);
    NUMBER(value_size, 4);
} sockets SEC(".maps");

struct {
    NUMBER(type, MAP_ARRAY);
    NUMBER(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct settings);
} settings SEC(".maps");

struct {
    NUMBER(type, MAP_PERCPU_ARRAY);
    NUMBER(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct counters);
} counters SEC(".maps");

static ALWAYS_INLINE u16 from_network(u16 x)
{
    return __builtin_bswap16(x);
}

/* Reads what decides from the headers. Returns 0 where the packet cannot be one of ours. */
static ALWAYS_INLINE int parse(const struct xdp_md *ctx, const struct settings *set, struct flow *flow)
{
    void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

    struct ethernet *ethernet = at;
    if ((void *)(ethernet + 1) > end)
        return 0;
    /* To a group: by the address alone. Else the station must be this one. */
    if (!(ethernet->to[0] & 1))
        for (int i = 0; i < 6; i++)
            if (ethernet->to[i] != set->station[i])
                return 0;
    u16 type = from_network(ethernet->type);
    at = ethernet + 1;

    if (type == ETH_P_8021Q || type == ETH_P_8021AD) {
        struct tag *tag = at;
        if ((void *)(tag + 1) > end)
            return 0;
        flow->vlan = from_network(tag->control) & 0xfff;
        type = from_network(tag->type);
        at = tag + 1;
    }

    if (type == ETH_P_IP) {
        struct ipv4 *ip = at;
        if ((void *)(ip + 1) > end)
            return 0;
        u32 words = ip->version_and_words & 15;
        /* More fragments, or not the first. */
        if (ip->version_and_words >> 4 != 4 || words < 5 || from_network(ip->fragment) & 0x3fff)
            return 0;
        flow->address[2] = 0xffff0000; /* ::ffff:0:0/96, least byte first */
        flow->address[3] = ip->to;
        flow->protocol = ip->protocol;
        at += words * 4;
    } else if (type == ETH_P_IPV6) {
        struct ipv6 *ip = at;
        if ((void *)(ip + 1) > end)
            return 0;
        for (int i = 0; i < 4; i++)
            flow->address[i] = ip->to[i];
        flow->protocol = ip->next;
        at = ip + 1;
    } else {
        return 0;
    }

    if (flow->protocol != PROTOCOL_TCP && flow->protocol != PROTOCOL_UDP)
        return 0;
    struct ports *ports = at;
    if ((void *)(ports + 1) > end)
        return 0;
    flow->port = ports->to;
    return 1;
}

/* The stack that the frame is for, plus one; 0 where it is the kernel's. */
static ALWAYS_INLINE u32 stack_for(const struct xdp_md *ctx)
{
    u32 first = 0;
    const struct settings *set = map_lookup(&settings, &first);
    if (!set)
        return 0;
    if (set->everything_to)
        return set->everything_to;
    struct flow flow = {};
    if (!parse(ctx, set, &flow))
        return 0;
    const u32 *stack = map_lookup(&flows, &flow);
    if (!stack && map_lookup(&addresses, flow.address)) {
        for (int i = 0; i < 4; i++)
            flow.address[i] = 0;
        stack = map_lookup(&flows, &flow);
    }
    return stack ? *stack + 1 : 0;
}

SEC("xdp.frags") int steer(struct xdp_md *ctx)
{
    u32 first = 0, stack = stack_for(ctx), queue = ctx->rx_queue_index;
    long action = XDP_PASS;
    /* Where no socket is at that place, the frame is the kernel's. */
    if (stack && stack <= STACKS && queue < QUEUES)
        action = redirect_map(&sockets, (stack - 1) * QUEUES + queue, XDP_PASS);
    struct counters *count = map_lookup(&counters, &first);
    if (count) {
        if (action == XDP_REDIRECT)
            count->redirected++;
        else
            count->passed++;
    }
    return action;
}

char licence[] SEC("license") = "MIT OR Apache-2.0";
