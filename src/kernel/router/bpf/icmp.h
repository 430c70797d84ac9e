/* SPDX-License-Identifier: GPL-2.0 */
/* ICMP errors about segments to clients: they come to the node that owns the address, and are for whoever sends. */
#ifndef BATON_ICMP_H
#define BATON_ICMP_H

#include "elsewhere.h"
#include "park.h"
#include "translate.h"

#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMP6_UNREACHABLE 1
#define ICMP6_TOO_BIG 2
#define ICMP6_PARAMETER 4
#define MIN_MTU4 552  /* net.ipv4.route.min_pmtu: Linux takes a smaller one for this */
#define MIN_MTU6 1280 /* RFC 8200: Linux believes no smaller one */
#define MAX_MTU 65535
#define IP_ANY_FRAGMENT 0x3fff /* of the word that says what part of a packet this is */
#define IP_LATER_FRAGMENT 0x1fff

struct icmp_header {
	__u8 type, code;
	__be16 check;
	__be32 rest;
};

/* An ICMP error about a segment to a client. */
struct icmp_error {
	struct flow_key key;
	struct address to;
	struct icmp_header icmp;
	struct {
		__be16 source, dest;
		__be32 seq;
	} ports;                /* of the TCP header that it quotes, all that need be there */
	__u32 seq_at, check_at; /* where in the frame the quoted sequence number is, and the checksum of the whole */
	__s32 mtu;              /* of the path, as it says; 0: it says something else */
};

/* Where an error is taken apart: the stack has no room. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct icmp_error);
} icmp_errors SEC(".maps");

static __always_inline __u8 byte_at(struct __sk_buff *skb, __u32 at)
{
	__u8 byte = 0;

	bpf_skb_load_bytes(skb, at, &byte, 1);
	return byte;
}

/* Where the payload of an IP packet in a frame begins; 0: it is of another protocol, or a piece that has a bit of
 * `fragment`. */
static __always_inline __u32 payload_at(struct __sk_buff *skb, __u32 at, __u8 protocol, __u16 fragment)
{
	__be16 piece = 0;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return byte_at(skb, at + __builtin_offsetof(struct ipv6hdr, nexthdr)) == protocol ?
			       at + sizeof(struct ipv6hdr) : 0;
	bpf_skb_load_bytes(skb, at + __builtin_offsetof(struct iphdr, frag_off), &piece, 2);
	if (byte_at(skb, at + __builtin_offsetof(struct iphdr, protocol)) != protocol ||
	    (piece & bpf_htons(fragment)))
		return 0;
	return at + (byte_at(skb, at) & 15) * 4;
}

/* An address of an IP packet in a frame; the destination's follows the source's. */
static __always_inline void read_address(struct __sk_buff *skb, __u32 at, int destination, struct address *address)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		address->word[0] = address->word[1] = 0;
		address->word[2] = bpf_htonl(0xffff);
		at += __builtin_offsetof(struct iphdr, saddr) + destination * 4;
		bpf_skb_load_bytes(skb, at, &address->word[3], 4);
	} else {
		at += __builtin_offsetof(struct ipv6hdr, saddr) + destination * 16;
		bpf_skb_load_bytes(skb, at, address, 16);
	}
}

/* The MTU that a message of this type tells, as the kernel will believe it; 0: none. -1: it is no error. */
static __always_inline int told_mtu(__be16 protocol, const struct icmp_header *icmp)
{
	__u32 told = bpf_ntohl(icmp->rest);

	if (protocol == bpf_htons(ETH_P_IP)) {
		if (icmp->type == ICMP_UNREACHABLE && icmp->code == ICMP_FRAGMENTATION_NEEDED)
			return (told & 0xffff) < MIN_MTU4 ? MIN_MTU4 : told & 0xffff;
		return icmp->type == ICMP_UNREACHABLE || icmp->type == ICMP_TIME_EXCEEDED ||
				       icmp->type == ICMP_PARAMETER ? 0 : -1;
	}
	if (icmp->type == ICMP6_TOO_BIG)
		return told < MIN_MTU6 || told > MAX_MTU ? 0 : told;
	return icmp->type >= ICMP6_UNREACHABLE && icmp->type <= ICMP6_PARAMETER ? 0 : -1;
}

/* Reads an error about a TCP segment that was sent from where the error goes to (RFC 792, RFC 4443 section 3). 0: it is
 * no such thing. */
static __noinline int read_icmp_error(struct __sk_buff *skb, struct icmp_error *e)
{
	__u8 protocol = skb->protocol == bpf_htons(ETH_P_IP) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	__u32 at = payload_at(skb, ETH_HLEN, protocol, IP_ANY_FRAGMENT), tcp;

	if (!at || bpf_skb_load_bytes(skb, at, &e->icmp, sizeof(e->icmp)))
		return 0;
	e->mtu = told_mtu(skb->protocol, &e->icmp);
	e->check_at = at + __builtin_offsetof(struct icmp_header, check);
	at += sizeof(e->icmp);
	tcp = payload_at(skb, at, IPPROTO_TCP, IP_LATER_FRAGMENT);
	if (e->mtu < 0 || !tcp || bpf_skb_load_bytes(skb, tcp, &e->ports, sizeof(e->ports)))
		return 0;
	e->seq_at = tcp + TCP_SEQ;
	read_address(skb, ETH_HLEN, 1, &e->to);
	read_address(skb, at, 0, &e->key.public);
	read_address(skb, at, 1, &e->key.client);
	e->key.public_port = e->ports.source;
	e->key.client_port = e->ports.dest;
	for (int i = 0; i < 4; i++)
		if (e->key.public.word[i] != e->to.word[i])
			return 0;
	return 1;
}

/* The range that holds a number of the client's space; NULL: it is nobody's. */
static __noinline const struct range *range_of_wire(const struct flow_rules *r, __u32 wire)
{
	const struct range *found = NULL;

	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		if (g->open ? after_eq(wire, g->start) : wire - g->start < g->end - g->start)
			found = g;
	}
	return found;
}

/* Whether the quoted segment may be on its way to the client: what a kernel asks of an error for its own segments
 * (RFC 5927 section 4.1), asked of all senders' ones. */
static __always_inline int is_on_its_way(const struct flow_rules *r, const struct flow_observed *o, __u32 wire)
{
	const struct range *g = range_of_wire(r, wire);

	if (!g || before(wire, o->ack))
		return 0;
	if (g->owner == OWNER_SELF)
		return !after(g->local + (wire - g->start), o->sent_next);
	return before(wire, o->edge);
}

/* Rule icmp-error, for the own socket: what it has sent itself it hears of as it has sent it; whatever others have sent
 * is for it about the number that it sends next. */
static __always_inline int tell_own_socket(struct __sk_buff *skb, const struct icmp_error *e,
					   const struct flow_rules *r, const struct flow_observed *o)
{
	__u32 wire = bpf_ntohl(e->ports.seq), local = to_local(r, wire);
	const struct range *g = range_of_wire(r, wire);
	__be32 seq;

	seq = bpf_htonl(g && g->owner == OWNER_SELF ? local : unsent(o, local));
	if (bpf_skb_store_bytes(skb, e->seq_at, &seq, 4, 0) || bpf_l4_csum_replace(skb, e->check_at, e->ports.seq, seq, 4))
		return TC_ACT_SHOT;
	count(COUNT_ERRORS_TRANSLATED);
	return TC_ACT_UNSPEC;
}

/* Rule icmp-error, for targets: all who have a part in the flow will send on this path, so all are told of its MTU. */
static __noinline int tell_targets(struct __sk_buff *skb, const struct flow_rules *r)
{
	__u8 hops = hops_left(skb), own[ETH_ALEN];
	__u64 done = 0;

	if (bpf_skb_load_bytes(skb, 0, own, ETH_ALEN) || bpf_skb_store_bytes(skb, ETH_ALEN, own, ETH_ALEN, 0) ||
	    set_hops(skb, hops, COPY_HOPS))
		return -1;
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];
		struct peer *peer;
		__u32 owner;

		if (i >= r->count)
			break;
		owner = g->owner;
		if (owner == OWNER_SELF || owner >= MAX_PEERS || (done & (1ULL << owner)) || g->late)
			continue;
		done |= 1ULL << owner;
		peer = bpf_map_lookup_elem(&peers, &owner);
		if (!peer || bpf_skb_store_bytes(skb, 0, peer->mac, ETH_ALEN, 0))
			continue;
		count(COUNT_ERRORS_FORWARDED);
		if (bpf_clone_redirect(skb, skb->ifindex, 0))
			count(COUNT_FORWARD_FAILED);
	}
	return set_hops(skb, COPY_HOPS, hops);
}

static __always_inline int icmp_error_at_anchor(struct __sk_buff *skb, const struct icmp_error *e,
						const struct flow_rules *r, struct flow_observed *o)
{
	if (!is_on_its_way(r, o, bpf_ntohl(e->ports.seq))) {
		count(COUNT_ERRORS_REFUSED);
		return TC_ACT_SHOT;
	}
	if (e->mtu) {
		if (!o->path_mtu || (__u32)e->mtu < o->path_mtu)
			o->path_mtu = e->mtu;
		if (tell_targets(skb, r))
			return TC_ACT_SHOT;
	}
	return tell_own_socket(skb, e, r, o);
}

/* Rule icmp-error: an error goes where the client's segments of that connection go. */
__noinline int icmp_error(struct __sk_buff *skb)
{
	const struct flow_rules *r = NULL;
	struct flow_observed *o = NULL;
	struct route *route = NULL;
	__u32 slot = 0, owner = OWNER_SELF, flags, role;
	struct icmp_error *e = bpf_map_lookup_elem(&icmp_errors, &slot);

	if (!e || !read_icmp_error(skb, e))
		return TC_ACT_UNSPEC;
	flags = control_flags();
	if (flags & CONTROL_ROUTES)
		route = bpf_map_lookup_elem(&routes, &e->key);
	if (route)
		owner = route->owner;
	if ((owner & OWNER_PARKED) && !alive(bpf_ktime_get_ns()))
		owner = OWNER_SELF;
	role = find_flow(&e->key, &slot, &r, &o);
	if (is_copy(skb)) {
		if (role == ROLE_TARGET && r && o && alive(bpf_ktime_get_ns()) && came_from(skb, r->anchor))
			return tell_own_socket(skb, e, r, o);
		count(COUNT_STRAY);
		return TC_ACT_SHOT;
	}
	if (role == ROLE_ANCHOR && owner == OWNER_SELF && r && o)
		return icmp_error_at_anchor(skb, e, r, o);
	if (!route && (flags & CONTROL_SPREAD) && public_kind(&e->key.public) == PUBLIC_OWN)
		owner = begun_before(&e->key, flags);
	if (owner & OWNER_PARKED)
		return park(skb, &e->key, owner & ~OWNER_PARKED);
	if (owner == OWNER_SELF || (role == ROLE_ARRIVING && r && came_from(skb, r->anchor)))
		return TC_ACT_UNSPEC;
	return divert(skb, owner);
}

#endif
