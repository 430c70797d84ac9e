/* SPDX-License-Identifier: GPL-2.0 */
/* Single fields of a frame, changed in place; checksums are brought along. */
#ifndef BATON_EDIT_H
#define BATON_EDIT_H

#include "segment.h"

static __always_inline int set_sequence(struct __sk_buff *skb, __u32 offset, __be32 from, __be32 to)
{
	if (from == to)
		return 0;
	return bpf_skb_store_bytes(skb, offset + TCP_SEQ, &to, 4, 0) ||
	       bpf_l4_csum_replace(skb, offset + TCP_CHECK, from, to, 4);
}

/* A word of the TCP header, with the checksum brought along. */
static __always_inline int set_word(struct __sk_buff *skb, const struct segment *s, __u32 field, __be16 from, __be16 to)
{
	return bpf_skb_store_bytes(skb, s->offset + field, &to, 2, 0) ||
	       bpf_l4_csum_replace(skb, s->offset + TCP_CHECK, from, to, 2);
}

/* Where the hop limit is. In IPv4 the word with it, whose other byte is the protocol, is in the checksum. */
static __always_inline __u32 hops_at(const struct __sk_buff *skb)
{
	return ETH_HLEN + (skb->protocol == bpf_htons(ETH_P_IP) ? __builtin_offsetof(struct iphdr, ttl) :
								  __builtin_offsetof(struct ipv6hdr, hop_limit));
}

/* How many hops a segment may still go; 0: cannot be read. */
static __always_inline __u8 hops_left(struct __sk_buff *skb)
{
	__u8 hops;

	return bpf_skb_load_bytes(skb, hops_at(skb), &hops, 1) ? 0 : hops;
}

static __always_inline int set_hops(struct __sk_buff *skb, __u8 from, __u8 to)
{
	__u32 at = hops_at(skb);

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return bpf_skb_store_bytes(skb, at, &to, 1, BPF_F_RECOMPUTE_CSUM);
	return bpf_l3_csum_replace(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, check),
				   bpf_htons((__u16)(from << 8 | IPPROTO_TCP)),
				   bpf_htons((__u16)(to << 8 | IPPROTO_TCP)), 2) ||
	       bpf_skb_store_bytes(skb, at, &to, 1, 0);
}

/* Whom a frame is for, and whom from, as it begins. */
struct stations {
	__u8 to[ETH_ALEN], from[ETH_ALEN];
};

/* A frame that has come goes on from this node. */
static __always_inline int read_own_mac(struct __sk_buff *skb, struct stations *stations)
{
	return bpf_skb_load_bytes(skb, 0, stations->from, ETH_ALEN);
}

static __always_inline int set_macs(struct __sk_buff *skb, struct stations *stations, const struct peer *peer)
{
	__builtin_memcpy(stations->to, peer->mac, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, stations, sizeof(*stations), 0);
}

/* Rule copy: what an anchor sends on to its targets, told by the one hop that is left. */
static __always_inline int is_copy(struct __sk_buff *skb)
{
	return hops_left(skb) == COPY_HOPS;
}

/* Whether the frame comes from a node's interface, by its MAC address. */
static __noinline int came_from(struct __sk_buff *skb, __u32 owner)
{
	struct peer *peer = bpf_map_lookup_elem(&peers, &owner);
	struct peer source = {};

	return peer && !bpf_skb_load_bytes(skb, ETH_ALEN, source.mac, 6) && *(__u64 *)&source == *(__u64 *)peer;
}

#endif
