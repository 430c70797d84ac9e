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
	__u8 hops = hops_left(skb), own[6];

	if (!peer || owner == OWNER_SELF)
		goto failed;
	/* With its last hop it would be taken for a copy. */
	if (hops <= COPY_HOPS + 1 || set_hops(skb, hops, hops - 1))
		goto failed;
	if (bpf_skb_load_bytes(skb, 0, own, 6) || set_macs(skb, peer->mac, own))
		goto failed;
	count(COUNT_DIVERTED);
	return bpf_redirect(skb->ifindex, 0);
failed:
	count(COUNT_DIVERT_FAILED);
	return TC_ACT_SHOT;
}

/* Rule arrived: the node that a connection comes from has sent the segment on, as it does once there is no way back.
 * The route here still leads to that node, until it has said so itself; the segment must not go there again. */
static __noinline int came_from(struct __sk_buff *skb, __u32 owner)
{
	struct peer *peer = bpf_map_lookup_elem(&peers, &owner);
	__u8 from[6];

	if (!peer || bpf_skb_load_bytes(skb, 6, from, 6))
		return 0;
	for (int i = 0; i < 6; i++)
		if (from[i] != peer->mac[i])
			return 0;
	return 1;
}

/* Rule spread: who gets a connection to an own public address. Where its SYN went is remembered, so that a change of
 * the table moves new connections only. A front has none of its own: what it does not remember goes by the table. */
static __noinline __u32 spread_owner(const struct flow_key *key, __u32 syn, __u32 flags)
{
	struct spread *known, entry = {};
	struct spread_table *table;
	__u32 zero = 0, at;

	if (!key)
		return OWNER_SELF;
	entry.second = bpf_ktime_get_ns() / 1000000000;
	known = bpf_map_lookup_elem(&spread, key);
	if (known && (!syn || entry.second - known->second <= SYN_MEMORY_S))
		return known->owner;
	if (!syn && !(flags & CONTROL_FRONT))
		return OWNER_SELF;
	table = bpf_map_lookup_elem(&spread_table, &zero);
	if (!table)
		return OWNER_SELF;
	at = hash_of(key) % SPREAD_SIZE;
	/* The compiler knows that the mask changes nothing, the verifier does not. */
	asm volatile("" : "+r"(at));
	entry.owner = table->owner[at & (SPREAD_BYTES - 1)];
	if (syn) {
		if (entry.owner != OWNER_SELF)
			count(COUNT_SPREAD);
		bpf_map_update_elem(&spread, key, &entry, BPF_ANY);
	}
	return entry.owner;
}

#endif
