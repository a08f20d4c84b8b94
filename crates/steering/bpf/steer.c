/*
 * Which frames of an interface go to an AF_XDP socket, or over a veth to where one is; all others go on to the kernel
 * as if nobody had looked. Built twice: as an XDP program, and with TRAFFIC_CONTROL as one that comes behind those, for
 * which every stack has a veth.
 *
 * Ours are TCP and UDP packets, IPv4 or IPv6, untagged or in a VLAN, to a local (address, port) that the agent has
 * entered, and ICMP errors about packets from there. Fragments are not, since only the first of them has ports; nor is
 * anything with IPv6 extension headers, nor what the interface hears that is for another station. See
 * crates/steering/src/flow.rs for the keys.
 */
#include "packet.h"

/* Scatters connections over 32 bits. */
static ALWAYS_INLINE u32 hash(const struct connection *of, u32 salt)
{
    const word *words = (const word *)of;
    for (u32 i = 0; i < sizeof(*of) / sizeof(*words); i++) {
        salt = (salt ^ words[i]) * 0x9e3779b1;
        salt ^= salt >> 15;
    }
    return salt * 0x85ebca6b;
}

/* The stack of a group that serves a connection: the same one for as long as the group is the same. */
static ALWAYS_INLINE u32 member(const struct group *group, const struct connection *of, u32 salt)
{
    u32 members = group->members;
    if (members < 2)
        return group->stacks[0];
    u32 index = (u64)hash(of, salt) * members >> 32;
    return group->stacks[index % GROUP];
}

static ALWAYS_INLINE int is_group(const struct station *to)
{
    return !(to->address[0] | to->address[1] | to->address[2]);
}

/* Whether one of this host's interfaces takes the frame. Without a tag, groups are left to their IP addresses. */
static ALWAYS_INLINE int is_ours(const struct settings *set, const struct station *to)
{
    if (!to->vlan) {
        if (is_group(to))
            return 1;
        u16 differ = 0;
        for (int i = 0; i < 3; i++)
            differ |= to->address[i] ^ set->station[i];
        if (!differ)
            return 1;
    }
    return set->has_stations && map_lookup(&stations, to);
}

/*
 * Those who serve a flow: first of all as the packet says it, then in whatever VLAN, then by whatever address. Where there
 * are several stations, an address is this host's in its own VLAN only.
 */
static ALWAYS_INLINE const struct group *servers(const struct settings *set, const struct station *to,
                                                 const struct flow *said)
{
    const struct group *group = 0;
    struct flow of = *said;
    if (set->vlan_flows)
        group = map_lookup(&flows, &of);
    if (group)
        return group;
    of.vlan = ANY_VLAN;
    group = map_lookup(&flows, &of);
    if (group && (!set->has_stations || is_group(to)))
        return group;
    struct place place = {.vlan = said->vlan};
    for (int i = 0; i < 4; i++)
        place.address[i] = of.address[i];
    if (!map_lookup(&addresses, &place))
        return 0;
    if (group)
        return group;
    to_any(of.address);
    if (set->vlan_flows) {
        of.vlan = said->vlan;
        group = map_lookup(&flows, &of);
        of.vlan = ANY_VLAN;
    }
    return group ? group : map_lookup(&flows, &of);
}

/* The stack that the frame is for, plus one, as the tables have it; 0 where it is the kernel's. */
static ALWAYS_INLINE u32 look_up(const struct context *ctx, const struct settings *set)
{
    struct connection of = {};
    struct station to = {};
    if (!outer_vlan(ctx, &to.vlan))
        return 0;
    of.local.vlan = to.vlan;
    if (!parse(ctx, &to, &of) || !is_ours(set, &to))
        return 0;
    if (set->connections) {
        const u32 *stack = map_lookup(&connections, &of);
        if (stack)
            return *stack + 1;
    }
    /* Which link such a sender is on, the kernel tells. */
    if (is_group(&to) && of.local.address[2] != MAPPED && (of.address[0] & LINK_LOCAL_BITS) == LINK_LOCAL)
        return 0;
    const struct group *group = servers(set, &to, &of.local);
    return group ? member(group, &of, set->salt) + 1 : 0;
}

/*
 * Where it is remembered what was found for such a frame, and what such a frame is. 0 for frames that are looked up each
 * time: all but TCP and UDP in IPv4 without options, fragments and tags, to the interface's own address.
 */
static ALWAYS_INLINE struct recent *recall(const struct context *ctx, const struct settings *set, struct recent *frame)
{
    struct ethernet *ethernet = (void *)(long)ctx->data;
    struct ipv4 *ip = (void *)(ethernet + 1);
    struct ports *ports = (void *)(ip + 1);
    if (has_outer_tag(ctx) || (void *)(ports + 1) > (void *)(long)ctx->data_end)
        return 0;
    u16 differ = ethernet->type ^ from_network(ETH_P_IP);
    for (int i = 0; i < 3; i++)
        differ |= ethernet->to[i] ^ set->station[i];
    differ |= ip->version_and_words ^ 0x45;
    differ |= ip->fragment & from_network(0x3fff);
    if (differ || !has_ports(ip->protocol))
        return 0;
    frame->from = ip->from;
    frame->to = ip->to;
    frame->ports = *(word *)ports;
    frame->protocol = ip->protocol;
    frame->changes = set->changes;
    u32 place = ((frame->ports ^ frame->from) * 0x9e3779b1 >> 24) % RECENTS;
    return map_lookup(&recents, &place);
}

static ALWAYS_INLINE int is_same(const struct recent *a, const struct recent *b)
{
    return !((a->from ^ b->from) | (a->to ^ b->to) | (a->ports ^ b->ports) | (a->protocol ^ b->protocol) |
             (a->changes ^ b->changes));
}

/* What no two frames are likely to share, in the upper half. */
static ALWAYS_INLINE u64 seal(const struct recent *of)
{
    u32 sum = of->from * 0x9e3779b1 + of->to * 0x85ebca6b + of->ports * 0xc2b2ae35 + (of->changes ^ of->protocol) * 0x27d4eb2f;
    return (u64)sum << 32;
}

/* The stack that the frame is for, plus one; 0 where it is the kernel's. */
static ALWAYS_INLINE u32 stack_for(const struct context *ctx)
{
    u32 first = 0;
    const struct settings *set = map_lookup(&settings, &first);
    if (!set)
        return 0;
    if (set->everything_to)
        return set->everything_to;
    struct recent frame = {};
    struct recent *known = recall(ctx, set, &frame);
    u64 sealed = seal(&frame);
    if (known) {
        u64 answer = *(volatile u64 *)&known->answer;
        if (is_same(known, &frame) && (answer ^ sealed) >> 32 == 0)
            return answer;
    }
    u32 stack = look_up(ctx, set);
    if (known) {
        frame.answer = sealed | stack;
        *known = frame;
    }
    return stack;
}

#ifdef TRAFFIC_CONTROL

/* Ethernet, a tag, IPv4 with all options, ICMP, the same of the packet that it quotes, and ports. */
#define HEADERS (14 + 4 + 60 + 8 + 60 + 4)
#define TO_KERNEL TC_NEXT
#define TO_STACK TC_REDIRECT
#define PROGRAM SEC("classifier")

/* Puts a stack's frame out at the far end of its veth, which must be in another network namespace. */
static ALWAYS_INLINE long send_to(u32 stack, struct context *ctx)
{
    (void)ctx;
    const u32 *cable = map_lookup(&cables, &stack);
    return cable && *cable ? redirect_peer(*cable, 0) : TC_NEXT;
}

/* Has the headers where they can be read. */
static ALWAYS_INLINE void prepare(struct context *ctx)
{
    u32 bytes = ctx->bytes < HEADERS ? ctx->bytes : HEADERS;
    if ((void *)(long)ctx->data + bytes > (void *)(long)ctx->data_end)
        pull_data(ctx, bytes);
}

#else

#define TO_KERNEL XDP_PASS
#define TO_STACK XDP_REDIRECT
#define PROGRAM SEC("xdp.frags")

/*
 * There is no way to the stack. Where it has ended, the kernel says so to its peers. By a queue that was not there when
 * the stack got its sockets the frame is lost, and counted: it comes again, and the stack has a socket there by then.
 */
static __attribute__((noinline)) long without_socket(u32 queue)
{
    u32 first = 0;
    const struct settings *set = map_lookup(&settings, &first);
    struct counters *count = map_lookup(&counters, &first);
    if (!set || !count || queue < set->queues)
        return XDP_PASS;
    count->beyond++;
    return XDP_DROP;
}

/* Sends a stack's frame on its way: XDP_REDIRECT, or what becomes of it where there is none. */
static ALWAYS_INLINE long send_to(u32 stack, struct context *ctx)
{
    u32 queue = ctx->rx_queue_index;
    if (stack >= STACKS)
        return XDP_PASS;
    long action = XDP_PASS;
    if (queue < QUEUES)
        action = redirect_map(&sockets, stack * QUEUES + queue, XDP_PASS);
    if (action == XDP_PASS)
        action = redirect_map(&hops, stack, XDP_PASS);
    if (action == XDP_PASS)
        action = without_socket(queue);
    return action;
}

static ALWAYS_INLINE void prepare(struct context *ctx)
{
    (void)ctx;
}

#endif

PROGRAM int steer(struct context *ctx)
{
    prepare(ctx);
    u32 first = 0, stack = stack_for(ctx);
    long action = stack ? send_to(stack - 1, ctx) : TO_KERNEL;
    struct counters *count = map_lookup(&counters, &first);
    if (count) {
        if (action == TO_STACK)
            count->redirected++;
        else if (action == TO_KERNEL)
            count->passed++;
    }
    return action;
}

char licence[] SEC("license") = "MIT OR Apache-2.0";
