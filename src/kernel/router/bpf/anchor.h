/* SPDX-License-Identifier: GPL-2.0 */
/* A flow at its anchor: the client's segments for the own socket, and the own socket's for the client. */
#ifndef BATON_ANCHOR_H
#define BATON_ANCHOR_H

#include "acceptable.h"
#include "ended.h"
#include "follow.h"
#include "forward.h"

/* Rule local-delivery: payload, control bits, ACKs while the own socket has something unfinished, and the client's
 * own probes (window, keepalive: a sequence number before what it sent last), which only the anchor can answer. */
static __always_inline int wants_delivery(const struct flow_rules *r, const struct segment *s,
					  struct flow_observed *o, __u32 acked)
{
	__u32 seq = bpf_ntohl(s->tcp.seq);

	if (s->payload || (s->tcp.flags & (TCP_FIN | TCP_RST | TCP_SYN))) {
		if (!o->in_next || after(seq + s->payload, o->in_next))
			o->in_next = seq + s->payload;
		return 1;
	}
	if (o->in_next && before(seq, o->in_next))
		return 1;
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		if (g->owner == OWNER_SELF && (g->open || after(g->end, acked)))
			return 1;
	}
	return 0;
}

/* Whether an acknowledgement has nothing to say to the own socket any more: the client has acknowledged its FIN before,
 * which is behind all that was handed to it. A client that has ended as well says so once more when that FIN has overtaken
 * something, and so it does when a target asks. */
static __always_inline int is_over(const struct flow_rules *r, const struct segment *s, const struct flow_observed *o,
				   __u32 acked)
{
	const struct range *last = last_range(r);

	return (r->flags & FLAG_CLOSING) && !s->payload && !(s->tcp.flags & (TCP_FIN | TCP_RST | TCP_SYN)) &&
	       !before(bpf_ntohl(s->tcp.seq), o->in_next) && last->owner == OWNER_SELF && last->open &&
	       after(acked, last->start + (r->own_next - last->local));
}

static __always_inline int ingress_anchor(struct __sk_buff *skb, struct segment *s, const struct flow_key *key,
					  __u32 slot, const struct flow_rules *r, struct flow_observed *o, __u64 now)
{
	struct old_header old;
	__u32 acked = o->ack, edge;
	int keep, verdict, duplicate;

	if (s->tcp.flags & TCP_SYN)
		return TC_ACT_UNSPEC;
	/* A reset is judged by the anchor's kernel alone; its engine tells the targets. Rule reset-while-closing: the
	 * kernel has let go of a closing connection, so a reset of the client is noted here. */
	if (s->tcp.flags & TCP_RST) {
		if ((r->flags & FLAG_CLOSING) && is_acceptable_reset(skb, s, o))
			o->watched = WATCHED_RESET;
		return TC_ACT_UNSPEC;
	}
	if (r->count == 0)
		return TC_ACT_UNSPEC;
	if (!is_acceptable(skb, r, s, o, now))
		return refuse(skb, key);
	edge = bpf_ntohl(s->tcp.ack) + ((__u32)bpf_ntohs(s->tcp.window) << (r->client_scale & 15));
	observe(o, r, s);
	keep = wants_delivery(r, s, o, acked);
	/* The kernel would answer it with a reset, if it has let go of the connection. */
	if (is_over(r, s, o, acked) && !has_connection(skb, key))
		keep = 0;
	watch(slot, r, s, o);
	duplicate = !s->payload && !(s->tcp.flags & TCP_FIN) && !after(bpf_ntohl(s->tcp.ack), acked);
	if (follows(r, s)) {
		if (follow(skb, s, r, o))
			return TC_ACT_SHOT;
	} else if (!(s->tcp.flags & TCP_URG)) {
		verdict = forward(skb, s, r, o, edge, keep, duplicate);
		if (!keep || verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	old = header_of(s);
	acknowledge_locally(skb, r, s, o, duplicate);
	if (write_header(skb, s, &old))
		return TC_ACT_SHOT;
	count(COUNT_TRANSLATED_IN);
	return TC_ACT_UNSPEC;
}

/* Rule away-ack: what the anchor's socket sends while bytes of a target are on their way carries no data. Its
 * sequence number is the last one inside the client's window: acceptable wherever the client is (RFC 9293 3.10.7.4),
 * and beyond the point up to which timestamps are remembered (RFC 7323 4.3). */
static __always_inline __u32 away_sequence(const struct flow_rules *r, const struct flow_observed *o, __u32 local)
{
	const struct range *last = last_range(r);

	/* A window probe: one acknowledged byte before, so that the client answers with what it holds. */
	if (local == r->own_next - 1)
		return o->ack - 1;
	/* Rule follow: the clone may be sending by now, and no time of ours may be remembered before its. */
	if (!last->open && after_eq(o->ack, last->end) && !(r->flags & FLAG_FOLLOW))
		return o->ack;
	return after(o->edge, o->ack) ? o->edge - 1 : o->ack;
}

/* Notes what the own socket tells the client of the in-half. Rule in-ack: for the targets, which acknowledge no less. */
static __always_inline void note_told(const struct flow_rules *r, struct flow_observed *o, const struct segment *s)
{
	__u32 window = (__u32)bpf_ntohs(s->tcp.window) << (r->in_scale & 15);

	if (after(bpf_ntohl(s->tcp.ack), o->in_ack))
		o->in_ack = bpf_ntohl(s->tcp.ack);
	if (window > o->in_max_window)
		o->in_max_window = window;
}

static __always_inline int egress_anchor(struct __sk_buff *skb, struct segment *s, const struct flow_key *key,
					 const struct flow_rules *r, struct flow_observed *o)
{
	struct old_header old = header_of(s);
	__u32 local = bpf_ntohl(s->tcp.seq), stamps, place, killed;
	const struct range *g;
	__u32 stamp = r->stamp;

	if ((s->tcp.flags & TCP_SYN) || r->count == 0)
		return TC_ACT_UNSPEC;
	/* A reset for which the kernel has no socket acknowledges what anybody has sent. */
	if ((s->tcp.flags & (TCP_ACK | TCP_RST)) == TCP_ACK)
		note_told(r, o, s);
	g = range_of_local(r, local);
	/* Rule probe: the byte before the first one that is not acknowledged; it may lie in no range any more. */
	if (!g && !s->payload && !(s->tcp.flags & (TCP_FIN | TCP_RST)))
		g = range_of_local(r, local + 1);
	if (g && reaches_beyond(g, local, s->payload)) {
		count(COUNT_NO_RANGE);
		return TC_ACT_SHOT;
	}
	/* Rule ended: the process was killed. Its FIN has a place when the end of the response is known, and the client hears it
	 * when it has all of that. When the FIN is sent again, and the client has come no further, nobody sends the rest. */
	killed = (s->tcp.flags & TCP_FIN) && !is_ended_by_process(r) && !is_listening(skb, key);
	if (killed) {
		if ((!g && !place_of_fin(r, s, &place)) || (o->said_fin == o->ack && targets_owe(r, o))) {
			o->ended = 1;
			return become_reset(skb, s, o->ack);
		}
		o->said_fin = o->ack;
	}
	/* A reset is heard only where the client is. Bytes of a target that has failed may have taken it further than this
	 * socket's own, and rule ended makes sure that it hears. */
	if (s->tcp.flags & TCP_RST) {
		place = g ? g->start + (local - g->local) : o->ack;
		o->ended = 1;
		return become_reset(skb, s, before(place, o->ack) ? o->ack : place);
	}
	if (g) {
		note_sent(o, s, local);
		s->tcp.seq = bpf_htonl(g->start + (local - g->local));
		stamp = g->stamp;
	} else if (killed) {
		note_sent(o, s, local);
		s->tcp.seq = bpf_htonl(place);
	} else if (s->payload || (s->tcp.flags & TCP_FIN)) {
		/* Rule no-range: the socket may not send what has no place in the client's space. */
		count(COUNT_NO_RANGE);
		return TC_ACT_SHOT;
	} else {
		s->tcp.seq = bpf_htonl(away_sequence(r, o, local));
		count(COUNT_AWAY_ACK);
	}
	stamps = stamp && s->options ? find_options(s) & 0xff : 0;
	if (stamps)
		set_option32(s, stamps + 1, option32(s, stamps + 1) + stamp);
	count(COUNT_TRANSLATED_OUT);
	return write_header(skb, s, &old) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

#endif
