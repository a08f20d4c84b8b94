/*
 * On the near end of a stack's veth: what the stack sends over its end leaves by the interface that it shares.
 */
#include "bpf.h"

/* That interface. */
struct {
    NUMBER(type, MAP_DEVMAP);
    NUMBER(max_entries, 1);
    NUMBER(key_size, 4);
    NUMBER(value_size, 8);
} leaves_by SEC(".maps");

/* Where it is gone, so is the frame: the kernel is not whom the stack wrote to. */
SEC("xdp.frags") int relay(struct context *ctx)
{
    (void)ctx;
    return redirect_map(&leaves_by, 0, XDP_DROP);
}

char licence[] SEC("license") = "MIT OR Apache-2.0";
