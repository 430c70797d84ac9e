/* SPDX-License-Identifier: GPL-2.0 */
/* The client's next request, sent to a clone as well, and handed over there (rule follow). */
#ifndef BATON_FOLLOW_H
#define BATON_FOLLOW_H

#include "edit.h"

/* Where a flow is, in the bits of the TCP header that are reserved. */
static __always_inline __u8 epoch_bits(const struct flow_rules *r)
{
	return r->epoch << EPOCH_SHIFT & EPOCH_BITS;
}

/* Rule follow: the client's next request goes to the clone that has sent the response before it as well, with the
 * client's own sequence number. Marked by URG; the urgent pointer is the time, so that one that comes late is known, and
 * the reserved bits are the epoch's last: a clone that is one request ahead of the anchor goes no further.
 * Nonzero: the segment cannot be made whole again. */
static __always_inline int follow(struct __sk_buff *skb, const struct segment *s, const struct flow_rules *r,
				  struct flow_observed *o)
{
	__u32 owner = last_range(r)->owner, next = bpf_ntohl(s->tcp.seq) + s->payload;
	__be16 flags = bpf_htons(s->tcp.doff << 8 | s->tcp.flags);
	__be16 marked = bpf_htons((s->tcp.doff & ~EPOCH_BITS) << 8 | epoch_bits(r) << 8 | s->tcp.flags | TCP_URG);
	__be16 now_ms = bpf_htons((__u16)(bpf_ktime_get_ns() / 1000000));
	struct peer *peer = bpf_map_lookup_elem(&peers, &owner);
	__u32 mark = skb->mark;
	struct stations stations;

	if (!peer || owner == OWNER_SELF)
		return 0;
	if (after(next, o->followed))
		o->followed = next;
	read_own_mac(skb, &stations);
	if (set_word(skb, s, TCP_FLAGS, flags, marked) || set_word(skb, s, TCP_URGENT, s->tcp.urgent, now_ms) ||
	    set_hops(skb, s->hops, COPY_HOPS) || set_macs(skb, &stations, peer))
		return -1;
	skb->mark = ROUTER_MARK;
	count(COUNT_FOLLOWED);
	if (bpf_clone_redirect(skb, skb->ifindex, 0))
		count(COUNT_FORWARD_FAILED);
	skb->mark = mark;
	return set_word(skb, s, TCP_FLAGS, marked, flags) || set_word(skb, s, TCP_URGENT, now_ms, s->tcp.urgent) ||
	       set_hops(skb, COPY_HOPS, s->hops);
}

/* A request that begins when the whole response before it is acknowledged; or, while its end is not known here, some. */
static __always_inline int follows(const struct flow_rules *r, const struct segment *s)
{
	const struct range *last = last_range(r);
	__u32 ack = bpf_ntohl(s->tcp.ack);

	if (!(r->flags & FLAG_FOLLOW) || !s->payload || (s->tcp.flags & TCP_URG))
		return 0;
	return last->open ? after(ack, last->start) : ack == r->watch;
}

/* Rule follow, at the clone: the bytes go to the engine; the socket's in-half stands still. */
static __always_inline void hand_over(struct __sk_buff *skb, const struct segment *s, __u32 slot,
				      const struct flow_rules *r, __u32 seq)
{
	__u32 zero = 0, engine = r->engine, length = s->payload;
	struct followed *record = bpf_map_lookup_elem(&scratch, &zero);
	void *ring = bpf_map_lookup_elem(&events, &engine);

	if (!record || !ring || length == 0)
		return;
	/* As in store_options. */
	asm volatile("" : "+r"(length));
	if (length > MAX_FOLLOWED_BYTES ||
	    bpf_skb_load_bytes(skb, s->offset + TCP_BASE + s->options, record->bytes, length))
		return;
	record->slot = slot;
	record->epoch = r->epoch;
	record->seq = seq;
	record->sent_ms = bpf_ntohs(s->tcp.urgent);
	record->length = length;
	record->arrived_ns = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(ring, record, __builtin_offsetof(struct followed, bytes) + length, BPF_RB_FORCE_WAKEUP))
		count(COUNT_EVENT_LOST);
}

#endif
