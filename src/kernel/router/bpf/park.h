/* SPDX-License-Identifier: GPL-2.0 */
/* What comes of a connection while it moves: kept, and taken up again when it is known where the connection is. */
#ifndef BATON_PARK_H
#define BATON_PARK_H

#include "maps.h"

/* `size`: a constant. Nonzero: the ring has no room, or the frame does not fit. */
static __always_inline int keep(struct __sk_buff *skb, void *ring, const struct flow_key *key, const __u32 size)
{
	__u32 length = skb->len;
	struct parked *segment = bpf_ringbuf_reserve(ring, sizeof(*segment) + size, 0);

	if (!segment)
		return -1;
	segment->key = *key;
	segment->length = length;
	segment->gso_size = skb->gso_size;
	/* As in store_options. */
	asm volatile("" : "+r"(length));
	if (length == 0 || length > size || bpf_skb_load_bytes(skb, 0, segment->frame, length)) {
		/* Who has not been told of this one is not told of those behind it either. */
		bpf_ringbuf_discard(segment, 0);
		return -1;
	}
	bpf_ringbuf_submit(segment, 0);
	return 0;
}

/* Rule park: the connection's socket is deaf here, and at its next node there is none yet. The segment goes to the
 * engine that moves the connection. What has no room is lost, as on a wire. */
static __noinline int park(struct __sk_buff *skb, const struct flow_key *key, __u32 engine)
{
	void *ring = bpf_map_lookup_elem(&parkings, &engine);
	int failed = -1;

	if (ring && key)
		failed = skb->len <= MAX_FRAME_BYTES ? keep(skb, ring, key, MAX_FRAME_BYTES) :
						       keep(skb, ring, key, MAX_LARGE_FRAME_BYTES);
	count(failed ? COUNT_PARK_FAILED : COUNT_PARKED);
	return TC_ACT_SHOT;
}

/* Rule replay: an engine writes a parked segment to the interface. It comes in, as it did, and goes where the rules
 * want it by now. */
static __always_inline int replay(struct __sk_buff *skb)
{
	skb->mark = 0;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#endif
