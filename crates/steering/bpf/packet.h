/*
 * What decides where a frame goes, read from its headers. None of them has padding, and the kernel checks no alignment on
 * machines that read as well from any address.
 */
#include "tables.h"

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMPV6 58

struct ethernet {
    u16 to[3];
    u16 from[3];
    u16 type;
};

struct tag {
    u16 control;
    u16 type;
};

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
};

struct ipv6 {
    u32 version_and_flow;
    u16 bytes;
    u8 next;
    u8 hops;
    u32 from[4];
    u32 to[4];
};

struct ports {
    u16 from;
    u16 to;
};

/* RFC 792, RFC 4443: an error, before what it quotes. */
struct icmp {
    u8 type;
    u8 code;
    u16 checksum;
    u32 more;
};

/* ::ffff:0:0/96, least byte first: what IPv4 addresses begin with. */
#define MAPPED 0xffff0000

/* fe80::/10 in the first word of an address, least byte first. */
#define LINK_LOCAL 0x000080fe
#define LINK_LOCAL_BITS 0x0000c0ff

/* The address that stands for all of the same family. */
static ALWAYS_INLINE void to_any(u32 *address)
{
    if (address[0] || address[1] || address[2] != MAPPED)
        address[0] = address[1] = address[2] = 0;
    address[3] = 0;
}

static ALWAYS_INLINE u16 from_network(u16 x)
{
    return __builtin_bswap16(x);
}

static ALWAYS_INLINE int has_ports(u8 protocol)
{
    return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP;
}

/* Reads the ports of a packet that came in, or of one that went out and is quoted. */
static ALWAYS_INLINE int parse_ports(void *at, void *end, int went_out, struct connection *of)
{
    struct ports *ports = at;
    if ((void *)(ports + 1) > end)
        return 0;
    of->local.port = went_out ? ports->from : ports->to;
    of->port = went_out ? ports->to : ports->from;
    return 1;
}

/*
 * Reads the packet from here that an ICMP error quotes, where it is one of those that a socket is told of. Errors go to
 * whom their packet came from; `of` has whom this one is for.
 */
static ALWAYS_INLINE int parse_error4(void *at, void *end, struct connection *of)
{
    struct icmp *icmp = at;
    struct ipv4 *ip = (void *)(icmp + 1);
    if ((void *)(ip + 1) > end || of->local.protocol != PROTOCOL_ICMP)
        return 0;
    /* Destination unreachable, time exceeded, parameter problem. */
    if (icmp->type != 3 && icmp->type != 11 && icmp->type != 12)
        return 0;
    u32 words = ip->version_and_words & 15;
    /* Only the first fragment has ports. */
    if (ip->version_and_words >> 4 != 4 || words < 5 || from_network(ip->fragment) & 0x1fff)
        return 0;
    if (ip->from != of->local.address[3] || !has_ports(ip->protocol))
        return 0;
    of->address[3] = ip->to;
    of->local.protocol = ip->protocol;
    return parse_ports((void *)ip + words * 4, end, 1, of);
}

/* The same for ICMPv6. */
static ALWAYS_INLINE int parse_error6(void *at, void *end, struct connection *of)
{
    struct icmp *icmp = at;
    struct ipv6 *ip = (void *)(icmp + 1);
    if ((void *)(ip + 1) > end || of->local.protocol != PROTOCOL_ICMPV6)
        return 0;
    /* Destination unreachable, packet too big, time exceeded, parameter problem. */
    if (icmp->type < 1 || icmp->type > 4)
        return 0;
    if ((ip->version_and_flow & 0xf0) != 0x60 || !has_ports(ip->next))
        return 0;
    for (int i = 0; i < 4; i++) {
        if (ip->from[i] != of->local.address[i])
            return 0;
        of->address[i] = ip->to[i];
    }
    of->local.protocol = ip->next;
    return parse_ports(ip + 1, end, 1, of);
}

/* The VLAN that a frame's tag names, where the kernel has taken that out. Returns 0 where it is a provider's. */
static ALWAYS_INLINE int outer_vlan(const struct context *ctx, u16 *vlan)
{
#ifdef TRAFFIC_CONTROL
    if (ctx->has_tag) {
        *vlan = ctx->tag & 0xfff;
        return from_network(ctx->tag_protocol) == ETH_P_8021Q;
    }
#else
    (void)ctx;
    (void)vlan;
#endif
    return 1;
}

/* Whether the kernel has taken a tag out. */
static ALWAYS_INLINE int has_outer_tag(const struct context *ctx)
{
#ifdef TRAFFIC_CONTROL
    return ctx->has_tag != 0;
#else
    (void)ctx;
    return 0;
#endif
}

/* Reads a frame's headers: whom it is for, and what. Returns 0 where it cannot be one of ours. */
static ALWAYS_INLINE int parse(const struct context *ctx, struct station *to, struct connection *of)
{
    void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

    struct ethernet *ethernet = at;
    if ((void *)(ethernet + 1) > end)
        return 0;
    if (!(ethernet->to[0] & 1)) /* the lowest bit of the first byte: a group's */
        for (int i = 0; i < 3; i++)
            to->address[i] = ethernet->to[i];
    u16 type = from_network(ethernet->type);
    at = ethernet + 1;

    /* A tag of a provider (802.1ad) is another network's, whatever its number. */
    if (type == ETH_P_8021Q) {
        struct tag *tag = at;
        /* A second tag, behind one that the kernel has taken out, is nobody's here. */
        if ((void *)(tag + 1) > end || to->vlan)
            return 0;
        to->vlan = of->local.vlan = from_network(tag->control) & 0xfff;
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
        of->local.address[2] = of->address[2] = MAPPED;
        of->local.address[3] = ip->to;
        of->address[3] = ip->from;
        of->local.protocol = ip->protocol;
        at += words * 4;
    } else if (type == ETH_P_IPV6) {
        struct ipv6 *ip = at;
        if ((void *)(ip + 1) > end)
            return 0;
        for (int i = 0; i < 4; i++) {
            of->local.address[i] = ip->to[i];
            of->address[i] = ip->from[i];
        }
        of->local.protocol = ip->next;
        at = ip + 1;
    } else {
        return 0;
    }

    if (has_ports(of->local.protocol))
        return parse_ports(at, end, 0, of);
    return type == ETH_P_IP ? parse_error4(at, end, of) : parse_error6(at, end, of);
}
