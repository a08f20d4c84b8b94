/*
 * The tables that the steering program looks into; crates/steering/src writes them.
 */
#include "bpf.h"

/* Sockets of one stack: one a queue. The same as in crates/steering/src/lib.rs, and group.rs. */
#define QUEUES 64
#define STACKS 64
#define GROUP 16

#define FLOWS 65536
#define CONNECTIONS 262144
#define ADDRESSES 4096
#define STATIONS 4096
#define RECENTS 256

/* No VLAN has that number. */
#define ANY_VLAN 0xffff

/* An address of this host; IPv4 ones as ::ffff:a.b.c.d. In the table all zeros for a flow that takes every address. */
struct flow {
    u32 address[4];
    u16 port; /* as in the packet */
    u16 vlan; /* in the processor's order; 0 where there is no tag, ANY_VLAN in a table for a flow of all VLANs */
    u8 protocol;
    u8 zero[3];
};

/* A flow's packets of one remote end. */
struct connection {
    struct flow local;
    u32 address[4];
    u16 port;
    u8 zero[2];
};

/* The stacks that share a flow: at least one. */
struct group {
    u8 members;
    u8 stacks[GROUP];
};

/* Whom frames are for, in a VLAN or without a tag: this host's interfaces. All zeros is every group there. */
struct station {
    u16 address[3];
    u16 vlan;
};

/* An address of this host, in the VLAN in which it is. */
struct place {
    u32 address[4];
    u32 vlan;
};

struct settings {
    u32 everything_to; /* stack + 1 that takes all frames; 0: by flow */
    u16 station[3];    /* the interface's address */
    u16 has_stations;  /* others are in the table */
    u32 salt;          /* of the hash, so that nobody outside chooses the stack */
    u32 connections;   /* how many there are */
    u32 vlan_flows;    /* how many flows there are of one VLAN */
    u32 queues;        /* how many the interface had when sockets were opened */
    u32 changes;       /* of these and of all tables, so far */
};

/*
 * Whom a frame was for, one of a connection that has frames often. Good for as long as nothing changes.
 *
 * A kernel that is preempted anywhere (PREEMPT_RT) may put another run on the processor between two words of an entry: so
 * the answer says in its own word which frame it is for.
 */
struct recent {
    u32 from, to; /* IPv4 addresses */
    u32 ports;
    u32 protocol;
    u32 changes; /* how many there had been */
    u32 unused;
    u64 answer; /* the stack plus one, or 0 for the kernel; above, the seal of the words before */
};

struct counters {
    u64 redirected;
    u64 passed;
    u64 beyond; /* for stacks, by queues that were not there before */
};

struct {
    NUMBER(type, MAP_HASH);
    NUMBER(max_entries, FLOWS);
    NUMBER(map_flags, NO_PREALLOC);
    TYPE(key, struct flow);
    TYPE(value, struct group);
} flows SEC(".maps");

/* What goes elsewhere than its flow: the stack, or for the kernel the highest number. */
struct {
    NUMBER(type, MAP_HASH);
    NUMBER(max_entries, CONNECTIONS);
    NUMBER(map_flags, NO_PREALLOC);
    TYPE(key, struct connection);
    TYPE(value, u32);
} connections SEC(".maps");

struct {
    NUMBER(type, MAP_HASH);
    NUMBER(max_entries, STATIONS);
    NUMBER(map_flags, NO_PREALLOC);
    NUMBER(key_size, 8);
    NUMBER(value_size, 4);
} stations SEC(".maps");

/* Addresses of this host, for flows that take every one of them: a router's other traffic is none of theirs. */
struct {
    NUMBER(type, MAP_HASH);
    NUMBER(max_entries, ADDRESSES);
    NUMBER(map_flags, NO_PREALLOC);
    NUMBER(key_size, 20);
    NUMBER(value_size, 4);
} addresses SEC(".maps");

#ifdef TRAFFIC_CONTROL
/* The near end of each stack's veth. */
struct {
    NUMBER(type, MAP_ARRAY);
    NUMBER(max_entries, STACKS);
    TYPE(key, u32);
    TYPE(value, u32);
} cables SEC(".maps");
#else
struct {
    NUMBER(type, MAP_XSKMAP);
    NUMBER(max_entries, STACKS *QUEUES);
    NUMBER(key_size, 4);
    NUMBER(value_size, 4);
} sockets SEC(".maps");

/* For a stack without a socket on a queue: the near end of the veth whose other end it has. */
struct {
    NUMBER(type, MAP_DEVMAP);
    NUMBER(max_entries, STACKS);
    NUMBER(key_size, 4);
    NUMBER(value_size, 8);
} hops SEC(".maps");
#endif

struct {
    NUMBER(type, MAP_ARRAY);
    NUMBER(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct settings);
} settings SEC(".maps");

/* Each processor's own. */
struct {
    NUMBER(type, MAP_PERCPU_ARRAY);
    NUMBER(max_entries, RECENTS);
    TYPE(key, u32);
    TYPE(value, struct recent);
} recents SEC(".maps");

struct {
    NUMBER(type, MAP_PERCPU_ARRAY);
    NUMBER(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct counters);
} counters SEC(".maps");
