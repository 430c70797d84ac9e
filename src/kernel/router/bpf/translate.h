/* SPDX-License-Identifier: GPL-2.0 */
/* Between the client's sequence space and the own socket's. Functions that are not static are verified once, by themselves;
 * hence their tests for NULL. */
#ifndef BATON_TRANSLATE_H
#define BATON_TRANSLATE_H

#include "segment.h"

/* Rule to-local: the client's sequence number in the own socket's space, clamped into the own ranges. */
__noinline __u32 to_local(const struct flow_rules *r, __u32 wire)
{
	__u32 local, last_end = wire;
	int seen = 0, last_open = 1;

	if (!r)
		return 0;
	local = r->own_next;

	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		last_open = g->open;
		last_end = g->end;
		if (g->owner != OWNER_SELF)
			continue;
		if (after_eq(wire, g->start)) {
			__u32 offset = wire - g->start;

			if (!g->open && offset > g->end - g->start)
				offset = g->end - g->start;
			local = g->local + offset;
		} else if (!seen) {
			local = g->local;
		}
		seen = 1;
	}
	/* What the own socket sends next follows a last range whose end is known. */
	if (!last_open && r->role == ROLE_ANCHOR && after_eq(wire, last_end))
		local = r->own_next + (wire - last_end);
	return local;
}

/* How far stamps of the own socket are ahead of its clock, for the range that holds `wire`. */
__noinline __u32 stamp_of(const struct flow_rules *r, __u32 wire)
{
	__u32 stamp = 0;

	if (!r)
		return 0;
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		if (i >= r->count)
			break;
		if (r->range[i].owner == OWNER_SELF && (i == 0 || after_eq(wire, r->range[i].start)))
			stamp = r->range[i].stamp;
	}
	return stamp;
}

/* The own range that holds the own socket's sequence number; NULL when none does. */
static __always_inline const struct range *range_of_local(const struct flow_rules *r, __u32 local)
{
	const struct range *found = NULL;

	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		if (g->owner == OWNER_SELF &&
		    (g->open ? after_eq(local, g->local) : local - g->local < g->end - g->start))
			found = g;
	}
	return found;
}

/* Whether a segment's tail has no place in its range: it would land on bytes of others. */
static __always_inline int reaches_beyond(const struct range *g, __u32 local, __u32 payload)
{
	return !g->open && payload && payload > (g->end - g->start) - (local - g->local);
}

/* Rule held: what the client says that it has beyond what it acknowledges (RFC 2018), with its highest
 * acknowledgement. A block below that tells of bytes that have come twice (RFC 2883). */
__noinline int note_held(struct flow_observed *o, const struct segment *s, __u32 at, __u32 ack)
{
	__u32 blocks, end = ack;

	if (!o || !s)
		return 0;
	blocks = s->tcp.option[(at + 1) & TCP_OPTIONS_MASK];
	blocks = blocks < 10 ? 0 : (blocks - 2) >> 3;
	for (__u32 i = 0; i < MAX_SACK_BLOCKS; i++) {
		__u32 right;

		if (i >= blocks)
			break;
		right = option32(s, at + 6 + i * 8);
		if (after(right, end))
			end = right;
	}
	if (end == ack || ack != o->ack)
		return 0;
	o->held_ack = ack;
	o->held_end = end;
	return 0;
}

/* Rule sack-filter: blocks that make sense to the own socket, in its space, are moved to the front; what remains of
 * the option becomes NOPs. */
__noinline int translate_sack(const struct flow_rules *r, struct segment *s, __u32 at, __u32 ack)
{
	__u32 blocks, kept = 0;

	if (!r || !s)
		return 0;
	blocks = s->tcp.option[(at + 1) & TCP_OPTIONS_MASK];
	blocks = blocks < 10 ? 0 : (blocks - 2) >> 3;
	for (__u32 i = 0; i < MAX_SACK_BLOCKS; i++) {
		__u32 left, right;

		if (i >= blocks)
			break;
		left = to_local(r, option32(s, at + 2 + i * 8));
		right = to_local(r, option32(s, at + 6 + i * 8));
		/* Nothing of it is ours; or it would claim the very next byte is held (reneging, RFC 2018). */
		if (!after(right, left) || left == ack || (before(left, ack) && after(right, ack)))
			continue;
		set_option32(s, at + 2 + kept * 8, left);
		set_option32(s, at + 6 + kept * 8, right);
		kept++;
	}
	if (kept == blocks)
		return 0;
	count(COUNT_SACK_REMOVED);
	for (__u32 i = 0; i < MAX_SACK_BLOCKS; i++) {
		if (i < kept || i >= blocks)
			continue;
		set_option32(s, at + 2 + i * 8, NOPS);
		set_option32(s, at + 6 + i * 8, NOPS);
	}
	s->tcp.option[(at + 1) & TCP_OPTIONS_MASK] = kept ? 2 + kept * 8 : OPTION_NOP;
	if (!kept)
		s->tcp.option[at & TCP_OPTIONS_MASK] = OPTION_NOP;
	return 0;
}

/* Rule window: bytes of others lie between what is acknowledged and the own last range. They are no room for the own
 * socket, which must not send beyond the edge that the client gave: the client would drop the whole segment. So a part of
 * the window's unit does not count, unless that would hold back the last bytes of an own range, before which the edge
 * never moves on. With nothing under way the kernel sends after a while what fits, if not a whole segment, so a unit that
 * begins with an own range does not count either. Returns the window field for the own socket, which hears that `local` is acknowledged. */
__noinline __u32 own_window(const struct flow_rules *r, __u32 ack, __u32 local, __u32 field)
{
	__u32 shift, part, right, edge, mine, start = ack;
	int inside = 0;

	if (!r)
		return field;
	shift = r->client_scale & 15;
	part = (1U << shift) - 1;
	right = ack + (field << shift);
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		if (g->owner != OWNER_SELF)
			continue;
		start = g->start;
		if (after_eq(right, g->start + (local == g->local ? 0 : part)) && (g->open || before(right, g->end)))
			inside = 1;
	}
	if (!before(ack, start))
		return field;
	edge = to_local(r, right);
	mine = (after(edge, local) ? edge - local : 0) + (inside ? 0 : part);
	return mine < field << shift ? mine >> shift : field;
}

/* Rule unsent: a response that goes on at another node may have been sent further by the one before. The kernel would
 * discard the whole segment, now and each time; what it has sent is acknowledged in any case. */
static __always_inline __u32 unsent(const struct flow_observed *o, __u32 local)
{
	return after(local, o->sent_next) ? o->sent_next : local;
}

/* What the own socket has sent, as the kernel counts. What was seen leaving may have been dropped by the interface's
 * queue, and then counts as unsent: `otherwise` is after it. */
static __noinline __u32 sent_by_socket(struct __sk_buff *skb, const struct segment *s, __u32 otherwise)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *socket;

	if (!s)
		return otherwise;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		tuple.ipv4.saddr = s->source.word[3];
		tuple.ipv4.daddr = s->destination.word[3];
		tuple.ipv4.sport = s->tcp.source;
		tuple.ipv4.dport = s->tcp.dest;
		socket = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &s->source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &s->destination, 16);
		tuple.ipv6.sport = s->tcp.source;
		tuple.ipv6.dport = s->tcp.dest;
		socket = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return otherwise;
	tcp = socket->state == BPF_TCP_LISTEN ? NULL : bpf_tcp_sock(socket);
	if (tcp && before(tcp->snd_nxt, otherwise))
		otherwise = tcp->snd_nxt;
	bpf_sk_release(socket);
	return otherwise;
}

/* Notes what leaves the own socket; a FIN takes a number as well. */
static __always_inline void note_sent(struct flow_observed *o, const struct segment *s, __u32 local)
{
	__u32 next = local + s->payload + (s->tcp.flags & TCP_FIN ? 1 : 0);

	if (after(next, o->sent_next))
		o->sent_next = next;
}

/* Rewrites what the client says about the out-half into what the own socket may hear of it. */
static __always_inline void acknowledge_locally(struct __sk_buff *skb, const struct flow_rules *r, struct segment *s,
						struct flow_observed *o, int duplicate)
{
	__u32 ack = bpf_ntohl(s->tcp.ack);
	__u32 local = unsent(o, to_local(r, ack));
	__u32 options = s->options ? find_options(s) : 0;
	__u32 stamps = options & 0xff, sack = options >> 8;

	/* A client that has more than was sent says the same again and again. */
	if (duplicate)
		local = sent_by_socket(skb, s, local);
	s->tcp.ack = bpf_htonl(local);
	s->tcp.window = bpf_htons(own_window(r, ack, local, bpf_ntohs(s->tcp.window)));
	/* Rule prediction. */
	if (!s->payload || r->role == ROLE_TARGET)
		s->tcp.flags |= TCP_CWR;
	o->window = (__u32)bpf_ntohs(s->tcp.window) << (r->client_scale & 15);
	if (stamps && option32(s, stamps + 5))
		set_option32(s, stamps + 5, option32(s, stamps + 5) - stamp_of(r, ack));
	if (sack) {
		note_held(o, s, sack - 1, ack);
		translate_sack(r, s, sack - 1, local);
	}
}

#endif
