/* SPDX-License-Identifier: GPL-2.0 */
/* A flow at a target: copies of the client's segments for the half-pipe's socket, and what that sends. */
#ifndef BATON_TARGET_H
#define BATON_TARGET_H

#include "acceptable.h"
#include "follow.h"
#include "forward.h"

static __always_inline int ingress_target(struct __sk_buff *skb, struct segment *s, __u32 slot,
					  const struct flow_rules *r, struct flow_observed *o)
{
	struct old_header old = header_of(s);
	__u32 seq = bpf_ntohl(s->tcp.seq);
	__u8 epoch = s->tcp.doff & EPOCH_BITS;
	int duplicate, followed = s->payload && (s->tcp.flags & TCP_URG);
	int whole = bpf_ntohl(s->tcp.ack) == r->watch;

	if ((s->tcp.flags & (TCP_SYN | TCP_RST)) || !(s->tcp.flags & TCP_ACK) || r->count == 0 ||
	    !came_from(skb, r->anchor) || !checksum_holds(skb, s)) {
		count(COUNT_STRAY);
		return TC_ACT_SHOT;
	}
	duplicate = !s->payload && !(s->tcp.flags & TCP_FIN) && !after(bpf_ntohl(s->tcp.ack), o->ack);
	observe(o, r, s);
	/* Rule in-ack: the copy's sequence number is what the anchor has acknowledged; not one that rule follow sent. */
	if (!followed && o->in_ack && after(seq, o->in_ack))
		o->in_ack = seq;
	acknowledge_locally(skb, r, s, o, duplicate);
	/* Rule frozen-in-half: the client's half stands still for the half-pipe's socket. */
	s->tcp.seq = bpf_htonl(r->in_local);
	s->tcp.flags &= ~(TCP_FIN | TCP_PSH | TCP_URG);
	watch(slot, r, s, o);
	if (followed && whole && (r->flags & FLAG_FOLLOW) && epoch == epoch_bits(r))
		hand_over(skb, s, slot, r, seq);
	if (followed) {
		s->tcp.urgent = 0;
		s->tcp.doff &= ~EPOCH_BITS;
	}
	count(COUNT_TRANSLATED_IN);
	if (s->payload) {
		count(COUNT_TRIMMED);
		return write_trimmed(skb, s) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}
	return write_header(skb, s, &old) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

static __always_inline int egress_target(struct __sk_buff *skb, struct segment *s, const struct flow_rules *r,
					 struct flow_observed *o, __u64 now)
{
	struct old_header old = header_of(s);
	__u32 local = bpf_ntohl(s->tcp.seq), stamps;
	const struct range *g = range_of_local(r, local);

	if (!s->payload) {
		/* Rule quiet: the anchor acknowledges, a target does not. Only its probes (sequence number before
		 * what it sent last) may ask the client for the window. */
		if (!before(local, o->sent_next)) {
			count(COUNT_QUIET);
			return TC_ACT_SHOT;
		}
		if (!g)
			g = range_of_local(r, local + 1);
	}
	if (!g || reaches_beyond(g, local, s->payload)) {
		count(COUNT_NO_RANGE);
		return TC_ACT_SHOT;
	}
	/* Rule lease: a target that the anchor may have given up sends nothing: not what is late, and not again what was
	 * lost. Once the client has acknowledged a byte of it, the anchor knows it as well. */
	if (s->payload && g->leased && now > r->lease_ns && !after(o->ack, g->start)) {
		count(COUNT_LEASE_ENDED);
		return TC_ACT_SHOT;
	}
	if (s->payload)
		note_sent(o, s, local);
	s->tcp.seq = bpf_htonl(g->start + (local - g->local));
	/* Rule frozen-in-half, the other way: what the anchor has, and its window. A client takes no timestamp from a
	 * segment whose acknowledgement is older than one before (rule in-ack). */
	s->tcp.ack = bpf_htonl(o->in_ack && after(o->in_ack, r->in_wire) ? o->in_ack : r->in_wire);
	s->tcp.window = bpf_htons(r->in_window);
	stamps = s->options ? find_options(s) & 0xff : 0;
	if (stamps) {
		set_option32(s, stamps + 1, option32(s, stamps + 1) + g->stamp);
		if (r->in_tsecr && before(option32(s, stamps + 5), r->in_tsecr))
			set_option32(s, stamps + 5, r->in_tsecr);
	}
	count(COUNT_TRANSLATED_OUT);
	return write_header(skb, s, &old) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

#endif
