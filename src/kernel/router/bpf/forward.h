/* SPDX-License-Identifier: GPL-2.0 */
/* What an anchor's router learns from the client's segments, tells its engine, and sends on to targets. */
#ifndef BATON_FORWARD_H
#define BATON_FORWARD_H

#include "edit.h"
#include "translate.h"

static __always_inline void observe(struct flow_observed *o, const struct flow_rules *r, const struct segment *s)
{
	__u32 ack = bpf_ntohl(s->tcp.ack);
	__u32 window = (__u32)bpf_ntohs(s->tcp.window) << (r->client_scale & 15), edge = ack + window;

	if (window > o->max_window)
		o->max_window = window;
	if (after(ack, o->ack))
		o->ack = ack;
	if (after(edge, o->edge))
		o->edge = edge;
	o->segments++;
}

/* Rule watch: tells user space once that the client has acknowledged the watched byte. What an anchor's own socket is
 * to read has its engine look by itself. */
static __always_inline void watch(__u32 slot, const struct flow_rules *r, const struct segment *s,
				  struct flow_observed *o)
{
	void *ring;
	__u32 engine = r->engine;
	struct event *event;

	if (!(r->flags & FLAG_WATCH) || o->watched == r->epoch || !after_eq(o->ack, r->watch))
		return;
	if ((r->flags & FLAG_WAKE) && s->payload)
		return;
	ring = bpf_map_lookup_elem(&events, &engine);
	if (!ring)
		return;
	event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);
	if (!event) {
		count(COUNT_EVENT_LOST);
		return;
	}
	event->slot = slot;
	event->epoch = r->epoch;
	event->ack = o->ack;
	event->edge = o->edge;
	o->watched = r->epoch;
	bpf_ringbuf_submit(event, r->flags & FLAG_WAKE ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/* Rule forward: each owner of unfinished bytes whose part of the window is open gets the segment. Rule late-forward:
 * an owner that lets go by itself may have missed the acknowledgement of its last byte; it then retransmits, and the
 * client answers with an acknowledgement that says nothing new. It gets those, and nothing else. */
static __always_inline int forward(struct __sk_buff *skb, const struct segment *s, const struct flow_rules *r,
				   const struct flow_observed *o, __u32 edge, int keep, int duplicate)
{
	__be32 told = o->in_ack ? bpf_htonl(o->in_ack) : s->tcp.seq;
	__u64 done = 0;
	int redirect_pending = 0;
	__u32 mark = skb->mark;
	struct stations stations;

	read_own_mac(skb, &stations);
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];
		struct peer *peer;
		__u32 owner;

		if (i >= r->count)
			break;
		owner = g->owner;
		if (owner == OWNER_SELF || owner >= MAX_PEERS || (done & (1ULL << owner)) || !after(edge, g->start) ||
		    (g->late && !duplicate))
			continue;
		done |= 1ULL << owner;
		peer = bpf_map_lookup_elem(&peers, &owner);
		if (!peer)
			continue;
		if (!redirect_pending &&
		    (set_sequence(skb, s->offset, s->tcp.seq, told) || set_hops(skb, s->hops, COPY_HOPS)))
			return TC_ACT_SHOT;
		if (redirect_pending && bpf_clone_redirect(skb, skb->ifindex, 0))
			count(COUNT_FORWARD_FAILED);
		set_macs(skb, &stations, peer);
		skb->mark = ROUTER_MARK;
		redirect_pending = 1;
		count(COUNT_FORWARDED);
	}
	if (!redirect_pending)
		return keep ? TC_ACT_UNSPEC : TC_ACT_SHOT;
	if (!keep)
		return bpf_redirect(skb->ifindex, 0);
	if (bpf_clone_redirect(skb, skb->ifindex, 0))
		count(COUNT_FORWARD_FAILED);
	skb->mark = mark;
	return set_sequence(skb, s->offset, told, s->tcp.seq) || set_hops(skb, COPY_HOPS, s->hops) ? TC_ACT_SHOT :
												       TC_ACT_UNSPEC;
}

#endif
