/* SPDX-License-Identifier: GPL-2.0 */
/* Segments of connections that live at another node: sent on, and new ones spread. */
#ifndef BATON_ELSEWHERE_H
#define BATON_ELSEWHERE_H

#include "edit.h"

/* A number from a connection's endpoints, the same on every node. */
static __always_inline __u32 hash_of(const struct flow_key *key)
{
	const __u32 *word = (const __u32 *)key;
	__u32 h = 0x811c9dc5;

	for (int i = 0; i < 9; i++) {
		h = (h ^ word[i]) * 0x9e3779b1;
		h ^= h >> 15;
	}
	h *= 0x85ebca6b;
	return h ^ (h >> 13);
}

/* Rule divert: the segment goes on to the node that has the connection, as it is but for the MAC addresses and one
 * hop: two nodes that each take the other for the owner must not send it to and fro for ever. */
static __noinline int divert(struct __sk_buff *skb, __u32 owner)
{
	struct peer *peer = bpf_map_lookup_elem(&peers, &owner);
	struct stations stations;
	__u8 hops = hops_left(skb);

	if (!peer || owner == OWNER_SELF)
		goto failed;
	/* With its last hop it would be taken for a copy. */
	if (hops <= COPY_HOPS + 1 || set_hops(skb, hops, hops - 1))
		goto failed;
	if (read_own_mac(skb, &stations) || set_macs(skb, &stations, peer))
		goto failed;
	skb->mark = ROUTER_MARK;
	count(COUNT_DIVERTED);
	return bpf_redirect(skb->ifindex, 0);
failed:
	count(COUNT_DIVERT_FAILED);
	return TC_ACT_SHOT;
}

/* Whether a connection lives at another node, or is on its way there. */
static __always_inline int is_elsewhere(const struct flow_key *key, __u64 now)
{
	struct route *route = control_flags() & CONTROL_ROUTES ? bpf_map_lookup_elem(&routes, key) : NULL;

	return route && route->owner != OWNER_SELF && (!(route->owner & OWNER_PARKED) || alive(now));
}

/* Who a connection goes to by the table. */
static __always_inline __u32 table_owner(const struct flow_key *key)
{
	__u32 zero = 0, at = hash_of(key) % SPREAD_SIZE;
	struct spread_table *table = bpf_map_lookup_elem(&spread_table, &zero);

	if (!table)
		return OWNER_SELF;
	/* The compiler knows that the mask changes nothing, the verifier does not. */
	asm volatile("" : "+r"(at));
	return table->owner[at & (SPREAD_BYTES - 1)];
}

/* Who cannot be reached has not answered a SYN, nor will it. */
static __always_inline int is_away(__u32 owner)
{
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&control, &zero);

	return c && (c->away >> (owner & 63) & 1);
}

/* Who gets a connection that begins: by the table, or whoever got this very SYN a moment ago and can still be reached. One
 * with another number begins another connection, from a port that the client uses anew. */
static __noinline __u32 syn_owner(const struct flow_key *key, const struct segment *s)
{
	struct spread_syn entry = {}, *begun;

	if (!key || !s)
		return OWNER_SELF;
	entry.second = bpf_ktime_get_ns() / 1000000000;
	entry.next = bpf_ntohl(s->tcp.seq) + 1;
	begun = bpf_map_lookup_elem(&spread_syns, key);
	if (begun && begun->next == entry.next && entry.second - (begun->second & ~SYN_COMPLETED) <= SYN_MEMORY_S &&
	    !is_away(begun->owner))
		return begun->owner;
	entry.owner = table_owner(key);
	if (entry.owner != OWNER_SELF)
		count(COUNT_SPREAD);
	bpf_map_update_elem(&spread_syns, key, &entry, BPF_ANY);
	return entry.owner;
}

/* Who got the SYN before this segment. The one that completes the handshake does not say much: who has never seen the
 * server's answer, or has written another's address, can send it blindly. So the connection is among the SYNs until its
 * client sends one more, and is remembered then. */
static __noinline __u32 begun_owner(const struct flow_key *key, const struct segment *s, __u32 otherwise)
{
	struct spread entry = {};
	struct spread_syn *begun;
	__u32 seq;

	if (!key || !s)
		return otherwise;
	begun = bpf_map_lookup_elem(&spread_syns, key);
	if (!begun)
		return otherwise;
	seq = bpf_ntohl(s->tcp.seq);
	if ((s->tcp.flags & (TCP_ACK | TCP_RST)) != TCP_ACK || before(seq, begun->next) ||
	    (!(begun->second & SYN_COMPLETED) && seq != begun->next))
		return otherwise == OWNER_SELF ? begun->owner : otherwise;
	entry.owner = begun->owner;
	if (!(begun->second & SYN_COMPLETED))
		begun->second |= SYN_COMPLETED;
	else if (entry.owner != OWNER_SELF)
		bpf_map_update_elem(&spread, key, &entry, BPF_ANY);
	else if (otherwise != OWNER_SELF)
		bpf_map_delete_elem(&spread, key);
	return entry.owner;
}

/* Rule spread: who gets a connection to an own public address. Where it went is remembered, so that a change of the
 * table moves new connections only. A front has none of its own: what it does not remember goes by the table. SYNs,
 * which anybody can send in any number, have a memory of their own. */
static __noinline __u32 spread_owner(const struct flow_key *key, const struct segment *s, __u32 flags)
{
	struct spread *known;
	__u32 owner;

	if (!key || !s)
		return OWNER_SELF;
	known = bpf_map_lookup_elem(&spread, key);
	if ((s->tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		if (known)
			known->begins = 1;
		return syn_owner(key, s);
	}
	if (known && !known->begins)
		return known->owner;
	owner = begun_owner(key, s, known ? known->owner : OWNER_SELF);
	return owner == OWNER_SELF && (flags & CONTROL_FRONT) ? table_owner(key) : owner;
}

/* Rule spread, for what is no segment of the client's: its connection has begun before. */
static __always_inline __u32 begun_before(const struct flow_key *key, __u32 flags)
{
	struct spread *known = bpf_map_lookup_elem(&spread, key);

	if (known)
		return known->owner;
	return flags & CONTROL_FRONT ? table_owner(key) : OWNER_SELF;
}

#endif
