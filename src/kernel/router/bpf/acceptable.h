/* SPDX-License-Identifier: GPL-2.0 */
/* Which of the client's segments the anchor's router believes: it stands before the kernel, and anybody who knows a
 * connection's endpoints can send a segment. */
#ifndef BATON_ACCEPTABLE_H
#define BATON_ACCEPTABLE_H

#include "checksum.h"
#include "socket.h"

/* The client's number after a segment. */
static __always_inline __u32 segment_end(const struct segment *s)
{
	return bpf_ntohl(s->tcp.seq) + s->payload + (s->tcp.flags & TCP_FIN ? 1 : 0);
}

/* What the client may have got at most. Nobody sends beyond its window, but for a part of the window's unit (rule
 * window), nor beyond the last response's end once that is known; a clone may have begun the next one (rule follow). The
 * own socket may have heard of more window before the flow began, and sent what is in the first range. */
static __always_inline __u32 last_acknowledgement(const struct flow_rules *r, const struct flow_observed *o)
{
	const struct range *first = &r->range[0], *last = last_range(r);
	__u32 beyond = o->edge + (1U << (r->client_scale & 15));
	__u32 own = first->open ? first->start + (o->sent_next - first->local) : first->end;

	if (first->owner == OWNER_SELF && after(own, beyond))
		beyond = own;
	if (last->open || (r->flags & FLAG_FOLLOW) || !after(beyond, last->end))
		return beyond;
	/* Rule ended: the FIN of a killed process is behind it. */
	return last->owner != OWNER_SELF && after(o->sent_next, r->own_next) ? last->end + 1 : last->end;
}

/* Whether a timestamp can be the client's: about where its clock is by now. A kernel refuses what is older (RFC 7323
 * section 5.3) and takes any that is newer, after which it refuses the client's own. */
static __always_inline int is_timely(const struct flow_observed *o, __u32 tsval, __u32 now)
{
	__u32 idle = now - o->tsval_units;

	/* 0: none seen yet. */
	if (!o->tsval || idle >= STAMP_IDLE_UNITS)
		return 1;
	return tsval - o->tsval + STAMP_SLACK <= 2 * STAMP_SLACK + (idle << STAMP_RATE_SHIFT);
}

/* Rule acceptable: what a kernel would take that had sent all the bytes itself (RFC 9293 section 3.10.7.4, RFC 5961
 * section 5.2). */
__noinline int is_acceptable(struct __sk_buff *skb, const struct flow_rules *r, const struct segment *s,
			     struct flow_observed *o, __u64 now_ns)
{
	__u32 seq, ack, now = now_ns >> STAMP_UNIT_SHIFT, tsval, stamps;

	if (!r || !s || !o)
		return 0;
	seq = bpf_ntohl(s->tcp.seq);
	ack = bpf_ntohl(s->tcp.ack);
	if (!(s->tcp.flags & TCP_ACK) || before(segment_end(s), o->in_ack) || after(seq, o->in_ack + o->in_max_window))
		return 0;
	if (before(ack, o->ack - o->max_window) || after(ack, last_acknowledgement(r, o)))
		return 0;
	stamps = s->options ? find_options(s) & 0xff : 0;
	tsval = stamps ? option32(s, stamps + 1) : 0;
	if ((stamps && !is_timely(o, tsval, now)) || !checksum_holds(skb, s))
		return 0;
	/* Out of order it would be ahead of segments that are still to come. A client's clock may begin anywhere. */
	if (stamps && !after(seq, o->in_ack) && (!o->tsval || after(tsval, o->tsval))) {
		o->tsval = tsval;
		o->tsval_units = now;
	}
	return 1;
}

/* Whether a reset is one of the client's, for a connection of which the kernel may have let go: it bears the number that
 * the client sends next, or the one that it was told last. A target that has not heard of the client's FIN tells the
 * number before that. */
static __always_inline int is_acceptable_reset(struct __sk_buff *skb, const struct segment *s,
					       const struct flow_observed *o)
{
	/* A FIN may be behind the last byte. */
	__u32 last = o->in_next + 1, first = o->in_ack, seq = bpf_ntohl(s->tcp.seq);

	if (before(last, o->in_ack))
		last = o->in_ack;
	if (o->in_next == o->in_ack - 1)
		first = o->in_next;
	return seq - first <= last - first && checksum_holds(skb, s);
}

/* What is not believed is the kernel's as it came: it drops or challenges it by rules of its own. Without a socket it would
 * answer with a reset, in the name of a connection that targets may still be sending on. */
static __always_inline int refuse(struct __sk_buff *skb, const struct flow_key *key)
{
	count(COUNT_UNACCEPTABLE);
	return has_connection(skb, key) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

#endif
