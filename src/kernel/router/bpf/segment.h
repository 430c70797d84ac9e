/* SPDX-License-Identifier: GPL-2.0 */
/* A TCP segment: read from its frame, and written back. */
#ifndef BATON_SEGMENT_H
#define BATON_SEGMENT_H

#include "maps.h"

/* Reads the headers of a TCP segment. NOT_PLAIN: IP of another protocol, a fragment, or IPv6 with extension headers;
 * its addresses are read. NOT_TCP: nothing is. */
static __always_inline int parse(struct __sk_buff *skb, struct segment *s)
{
	__u32 total;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;
		__u32 length;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
			return NOT_TCP;
		s->hops = ip.ttl;
		s->source.word[3] = ip.saddr;
		s->destination.word[3] = ip.daddr;
		s->source.word[2] = s->destination.word[2] = bpf_htonl(0xffff);
		length = ip.ihl * 4;
		if (ip.protocol != IPPROTO_TCP || length < sizeof(ip) || (ip.frag_off & bpf_htons(0x3fff)))
			return NOT_PLAIN;
		s->offset = ETH_HLEN + length;
		total = bpf_ntohs(ip.tot_len) - length;
		/* A BIG TCP segment has no length in its header. */
		if (ip.tot_len == 0)
			total = skb->len - s->offset;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
			return NOT_TCP;
		s->hops = ip.hop_limit;
		__builtin_memcpy(&s->source, &ip.saddr, 16);
		__builtin_memcpy(&s->destination, &ip.daddr, 16);
		if (ip.nexthdr != IPPROTO_TCP)
			return NOT_PLAIN;
		s->offset = ETH_HLEN + sizeof(ip);
		total = bpf_ntohs(ip.payload_len);
		if (total == 0)
			total = skb->len - s->offset;
	} else {
		return NOT_TCP;
	}
	if (bpf_skb_load_bytes(skb, s->offset, &s->tcp, TCP_BASE))
		return NOT_PLAIN;
	s->options = (s->tcp.doff >> 4) * 4 - TCP_BASE;
	if (s->options > TCP_OPTIONS)
		return NOT_PLAIN;
	if (s->options && bpf_skb_load_bytes(skb, s->offset + TCP_BASE, s->tcp.option, s->options))
		return NOT_PLAIN;
	/* As the kernel does: what is shorter than it says, or too short for its header, is nothing. */
	if (total < TCP_BASE + s->options || s->offset + total > skb->len)
		return NOT_PLAIN;
	s->payload = total - TCP_BASE - s->options;
	return PARSED;
}

/* Whether a frame that is NOT_PLAIN may pass by what it is: other protocols do, TCP in pieces does not. */
static __always_inline int hides_tcp(struct __sk_buff *skb)
{
	__u8 protocol = 0;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		bpf_skb_load_bytes(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, protocol), &protocol, 1);
		return protocol == IPPROTO_TCP;
	}
	bpf_skb_load_bytes(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, nexthdr), &protocol, 1);
	return protocol != IPPROTO_ICMPV6 && protocol != IPPROTO_UDP;
}

/* A number in the options, at any index; the mask is for the verifier. */
static __always_inline __u32 option32(const struct segment *s, __u32 at)
{
	const __u8 *p = &s->tcp.option[at & TCP_OPTIONS_MASK];

	return ((__u32)p[0] << 24) | ((__u32)p[1] << 16) | ((__u32)p[2] << 8) | p[3];
}

static __always_inline void set_option32(struct segment *s, __u32 at, __u32 value)
{
	__u8 *p = &s->tcp.option[at & TCP_OPTIONS_MASK];

	p[0] = value >> 24;
	p[1] = value >> 16;
	p[2] = value >> 8;
	p[3] = value;
}

/* Where the timestamps (low byte) and SACK (next byte) options are, plus one; 0 when absent. */
__noinline __u32 find_options(const struct segment *s)
{
	__u32 stamps = 0, sack = 0, i = 0;

	if (!s)
		return 0;
	/* As nearly all segments begin. */
	if (s->options >= 12 && *(__be32 *)s->tcp.option == bpf_htonl(NOPS_AND_TIMESTAMPS)) {
		stamps = 3;
		i = 12;
	}
	for (int steps = 0; steps < TCP_OPTIONS; steps++) {
		__u32 kind, length;

		if (i + 1 >= s->options)
			break;
		kind = s->tcp.option[i & TCP_OPTIONS_MASK];
		if (kind == OPTION_END)
			break;
		if (kind == OPTION_NOP) {
			i = (i + 1) & TCP_OPTIONS_MASK;
			continue;
		}
		length = s->tcp.option[(i + 1) & TCP_OPTIONS_MASK];
		if (length < 2 || i + length > s->options)
			break;
		if (kind == OPTION_TIMESTAMPS && length == 10)
			stamps = i + 1;
		if (kind == OPTION_SACK && length >= 10)
			sack = i + 1;
		i = (i + length) & TCP_OPTIONS_MASK;
	}
	return stamps | (sack << 8);
}

/* The two tests stay apart (the barrier), or the verifier loses the lower bound. */
static __always_inline int store_options(struct __sk_buff *skb, const struct segment *s, __u64 flags)
{
	__u32 length = s->options;

	if (length == 0)
		return 0;
	asm volatile("" : "+r"(length));
	if (length > TCP_OPTIONS)
		return -1;
	return bpf_skb_store_bytes(skb, s->offset + TCP_BASE, s->tcp.option, length, flags);
}

static __always_inline struct old_header header_of(const struct segment *s)
{
	return *(const struct old_header *)&s->tcp;
}

/* Writes the changed TCP header back, with the checksum brought along. */
static __always_inline int write_header(struct __sk_buff *skb, const struct segment *s, const struct old_header *old)
{
	__s64 diff = bpf_csum_diff((__be32 *)old, TCP_HEADER, (__be32 *)&s->tcp, TCP_HEADER, 0);

	if (diff < 0 || bpf_skb_store_bytes(skb, s->offset, &s->tcp, TCP_BASE, 0))
		return -1;
	if (store_options(skb, s, 0))
		return -1;
	return bpf_l4_csum_replace(skb, s->offset + TCP_CHECK, 0, diff, 0);
}

/* The sum of the pseudo-header of a segment of so many bytes, without its complement. IPv4's addresses are mapped: the
 * prefix adds 0xffff to a sum, which is nothing. */
static __always_inline __s64 pseudo_sum(const struct segment *s, __u32 length)
{
	__u32 rest = bpf_htons(length) + bpf_htons(length >> 16) + bpf_htons(IPPROTO_TCP);

	return bpf_csum_diff(0, 0, (__be32 *)&s->source, 2 * sizeof(struct address), rest);
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
	return (sum & 0xffff) + (sum >> 16);
}

/* Whether the checksum is the interface's to complete: then a change that is not the pseudo-header's leaves the field as
 * it is. The change is taken back. */
static __always_inline int is_checksum_partial(struct __sk_buff *skb, __u32 offset)
{
	__u32 at = offset + TCP_CHECK;
	__be16 before = 0, changed = 0;

	if (bpf_skb_load_bytes(skb, at, &before, 2) || bpf_l4_csum_replace(skb, at, 0, 1, 2) ||
	    bpf_skb_load_bytes(skb, at, &changed, 2) || bpf_l4_csum_replace(skb, at, 1, 0, 2))
		return 0;
	return before == changed;
}

/* Rule trim: a target's kernel sees the acknowledgement, never the client's payload. The checksum is made anew;
 * the copy was verified where it came in. */
static __noinline int write_trimmed(struct __sk_buff *skb, struct segment *s)
{
	__u32 length = TCP_BASE + s->options;
	int partial = is_checksum_partial(skb, s->offset);
	__s64 sum;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be16 total = bpf_htons(s->offset - ETH_HLEN + length), was;
		__u32 at = ETH_HLEN + __builtin_offsetof(struct iphdr, tot_len);

		if (bpf_skb_load_bytes(skb, at, &was, 2) ||
		    bpf_l3_csum_replace(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, check), was, total, 2) ||
		    bpf_skb_store_bytes(skb, at, &total, 2, 0))
			return -1;
	} else {
		__be16 total = bpf_htons(length);

		if (bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, payload_len), &total, 2, 0))
			return -1;
	}
	if (bpf_skb_change_tail(skb, s->offset + length, 0))
		return -1;
	s->tcp.check = 0;
	sum = pseudo_sum(s, length);
	s->tcp.check = partial ? fold(sum) : ~fold(bpf_csum_diff(0, 0, (__be32 *)&s->tcp, TCP_HEADER, sum));
	if (bpf_skb_store_bytes(skb, s->offset, &s->tcp, TCP_BASE, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (store_options(skb, s, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return 0;
}

#endif
