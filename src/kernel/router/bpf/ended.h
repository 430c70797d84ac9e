/* SPDX-License-Identifier: GPL-2.0 */
/* Connections that are over here, and whose client has to hear it with a number that it accepts (rule ended). */
#ifndef BATON_ENDED_H
#define BATON_ENDED_H

#include "edit.h"
#include "socket.h"

/* Makes the segment a bare one: this number, no options, no payload. Ports and addresses are the caller's. */
static __always_inline int write_bare(struct __sk_buff *skb, struct segment *s, __u32 sequence, __u8 flags)
{
	if (!s)
		return -1;
	s->tcp.seq = bpf_htonl(sequence);
	s->tcp.flags = flags;
	s->tcp.window = s->tcp.urgent = 0;
	s->tcp.doff = TCP_BASE / 4 << 4;
	__builtin_memset(s->tcp.option, 0, sizeof(s->tcp.option));
	s->options = s->payload = 0;
	return write_trimmed(skb, s);
}

static __always_inline int write_reset(struct __sk_buff *skb, struct segment *s, __u32 sequence)
{
	if (!s)
		return -1;
	s->tcp.ack = 0;
	return write_bare(skb, s, sequence, TCP_RST);
}

/* Source and destination change places; IPv4's checksum stays right. */
static __always_inline int swap_addresses(struct __sk_buff *skb, const struct segment *s)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__u32 at = ETH_HLEN + __builtin_offsetof(struct iphdr, saddr);

		return bpf_skb_store_bytes(skb, at, &s->destination.word[3], 4, 0) ||
		       bpf_skb_store_bytes(skb, at + 4, &s->source.word[3], 4, 0);
	}
	__u32 at = ETH_HLEN + __builtin_offsetof(struct ipv6hdr, saddr);

	return bpf_skb_store_bytes(skb, at, &s->destination, 16, 0) || bpf_skb_store_bytes(skb, at + 16, &s->source, 16, 0);
}

/* Rule ended, towards the node: the client's segment goes back as the reset with which a kernel without a socket answers it
 * (RFC 9293 section 3.10.7.1). Its number is what the client has acknowledged, and that is what it expects. */
static __noinline int answer_reset(struct __sk_buff *skb, struct segment *s)
{
	__be16 port;

	if (!s)
		return TC_ACT_SHOT;
	/* The kernel's own socket may be there still. */
	if (s->tcp.flags & TCP_RST)
		return TC_ACT_UNSPEC;
	if (!(s->tcp.flags & TCP_ACK))
		return TC_ACT_SHOT;
	port = s->tcp.source;
	s->tcp.source = s->tcp.dest;
	s->tcp.dest = port;
	if (write_reset(skb, s, bpf_ntohl(s->tcp.ack)) || swap_addresses(skb, s) || set_hops(skb, s->hops, RESET_HOPS))
		return TC_ACT_SHOT;
	skb->mark = ROUTER_MARK;
	count(COUNT_ENDED);
	/* By the route to the client: the segment may have come by way of another node. */
	return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
}

/* Rule ended, towards the client: what the kernel sends is a reset with the number that the client was known to expect.
 * When the client is further, since its last acknowledgement was lost or is on its way, it drops that reset without a word
 * (RFC 5961 section 3.2), and if it only receives it says nothing more by itself. So it is asked as well, by a keepalive
 * (RFC 9293 section 3.8.4): what it answers is answered with its own number. The same helps when the reset is lost. */
static __noinline int become_reset(struct __sk_buff *skb, struct segment *s, __u32 expected)
{
	__u32 mark = skb->mark;

	count(COUNT_ENDED);
	if (write_bare(skb, s, expected - 1, TCP_ACK))
		return TC_ACT_SHOT;
	skb->mark = ROUTER_MARK;
	bpf_clone_redirect(skb, skb->ifindex, 0);
	skb->mark = mark;
	return write_reset(skb, s, expected) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* Whether a target has bytes of the flow that the client does not have yet. Without a process nobody asks for them. */
static __always_inline int targets_owe(const struct flow_rules *r, const struct flow_observed *o)
{
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		if (g->owner != OWNER_SELF && (g->open || after(g->end, o->ack)))
			return 1;
	}
	return 0;
}

/* Whether a socket of this node listens where the connection began: none does when its process has ended. */
static __always_inline int is_listening(struct __sk_buff *skb, const struct flow_key *key)
{
	return has_socket(skb, key, LISTENER_ONLY) == SOCKET_LISTENS;
}

/* Whether a process that lives ends the connection: it has closed the flow, and the targets go on with what they owe; or it
 * stops, so that nobody listens any more, and this FIN waits until what is before it has its place. */
static __always_inline int is_ended_by_process(const struct flow_rules *r)
{
	return ((r->flags & FLAG_CLOSING) || (control_flags() & CONTROL_STOPS)) && alive(bpf_ktime_get_ns());
}

/* A FIN that has no place in the client's space, of a socket that its process did not close with the flow's other
 * parts: it was killed. Behind a last range whose end is known the FIN has its place all the same, since nothing more
 * comes; else nobody will say where the response ends. Returns whether it has one, and that in `sequence`. */
static __always_inline int place_of_fin(const struct flow_rules *r, const struct segment *s, __u32 *sequence)
{
	const struct range *last = last_range(r);

	*sequence = last->end;
	return !last->open && !s->payload && bpf_ntohl(s->tcp.seq) == r->own_next && !(r->flags & FLAG_FOLLOW);
}

/* Notes that the connection has ended here with a reset, for which no flow stands. */
static __always_inline void note_ended(const struct flow_key *key, __u32 sequence)
{
	bpf_map_update_elem(&ended, key, &sequence, BPF_ANY);
}

/* Whether a segment of the client is for such a connection. A SYN begins the next one. */
static __always_inline int is_ended(const struct flow_key *key, const struct segment *s)
{
	if (s->tcp.flags & TCP_SYN) {
		bpf_map_delete_elem(&ended, key);
		return 0;
	}
	return bpf_map_lookup_elem(&ended, key) != NULL;
}

#endif
