/*
 * What the program needs of the kernel's interface to BPF, written out so that clang is all that is needed to build it:
 * numbers and layouts from linux/bpf.h, which never change.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
/* For reading what was written as something else. */
typedef u32 __attribute__((may_alias)) word;

#define SEC(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* enum bpf_map_type */
#define MAP_HASH 1
#define MAP_ARRAY 2
#define MAP_PERCPU_ARRAY 6
#define MAP_DEVMAP 14
#define MAP_XSKMAP 17

/* BPF_F_NO_PREALLOC: memory for entries that exist only. */
#define NO_PREALLOC 1

/* How the type information tells the loader about a map. */
#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, type) type *name

/* enum xdp_action */
#define XDP_DROP 1
#define XDP_PASS 2
#define XDP_REDIRECT 4

/* enum tcx_action_base: leave it to the next program, drop it */
#define TC_NEXT (-1)
#define TC_DROP 2
#define TC_REDIRECT 7

/* What a program is handed. */
#ifdef TRAFFIC_CONTROL
/* struct __sk_buff */
struct context {
    u32 bytes;
    u32 packet_type;
    u32 mark;
    u32 queue;
    u32 protocol;
    u32 has_tag; /* taken out of the frame */
    u32 tag;
    u32 tag_protocol;
    u32 others[11]; /* up to data */
    u32 data;
    u32 data_end;
};
#else
/* struct xdp_md */
struct context {
    u32 data;
    u32 data_end;
    u32 data_meta;
    u32 ingress_ifindex;
    u32 rx_queue_index;
    u32 egress_ifindex;
};
#endif

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const pull_data)(void *context, u32 bytes) = (void *)39;
static long (*const redirect_peer)(u32 ifindex, u64 flags) = (void *)155;
static long (*const redirect_map)(void *map, u64 key, u64 action_where_missing) = (void *)51;
