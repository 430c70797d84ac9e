/* SPDX-License-Identifier: GPL-2.0 */
/* Whether a segment is what was sent. */
#ifndef BATON_CHECKSUM_H
#define BATON_CHECKSUM_H

#include "segment.h"

/* Adds bytes of the frame, from an even place of the segment on, to a sum. -1: they cannot be read. Verified once, by
 * itself, as checksum_holds is. */
__noinline int add_bytes(struct __sk_buff *skb, __u32 at, __u32 length, __u32 sum)
{
	__u32 zero = 0;
	struct followed *room = bpf_map_lookup_elem(&scratch, &zero);
	__s64 total = sum;

	if (!room)
		return -1;
	for (__u32 i = 0; i < CHECKSUM_CHUNKS && length >= CHECKSUM_CHUNK; i++) {
		if (bpf_skb_load_bytes(skb, at, room->bytes, CHECKSUM_CHUNK))
			return -1;
		total = bpf_csum_diff(0, 0, (__be32 *)room->bytes, CHECKSUM_CHUNK, total);
		at += CHECKSUM_CHUNK;
		length -= CHECKSUM_CHUNK;
	}
	if (length == 0)
		return fold(total);
	/* As in store_options. */
	asm volatile("" : "+r"(length));
	if (length >= CHECKSUM_CHUNK || bpf_skb_load_bytes(skb, at, room->bytes, length))
		return -1;
	__builtin_memset(&room->bytes[length], 0, 4);
	return fold(bpf_csum_diff(0, 0, (__be32 *)room->bytes, (length + 3) & ~3, total));
}

/* Rule acceptable: whether the TCP checksum is right, where the interface has not said so. What a kernel of this machine
 * has sent, or put together, bears the sum of the pseudo-header alone. Whoever means to deceive can make either; this
 * is against damage. */
__noinline int checksum_holds(struct __sk_buff *skb, const struct segment *s)
{
	__u32 length;
	__s64 sum;

	if (!s)
		return 0;
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return 1;
	length = TCP_BASE + s->options;
	sum = pseudo_sum(s, length + s->payload);
	if (fold(sum) == s->tcp.check)
		return 1;
	sum = bpf_csum_diff(0, 0, (__be32 *)&s->tcp, TCP_HEADER, sum);
	if (s->payload)
		sum = add_bytes(skb, s->offset + length, s->payload, fold(sum));
	return sum >= 0 && fold(sum) == 0xffff;
}

#endif
