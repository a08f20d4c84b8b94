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

/* struct xdp_md */
struct xdp_md {
    u32 data;
    u32 data_end;
    u32 data_meta;
    u32 ingress_ifindex;
    u32 rx_queue_index;
    u32 egress_ifindex;
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect_map)(void *map, u64 key, u64 action_where_missing) = (void *)51;
