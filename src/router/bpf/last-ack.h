/* SPDX-License-Identifier: GPL-2.0 */
/* The end of a connection that is no flow any more. */
#ifndef BATON_LAST_ACK_H
#define BATON_LAST_ACK_H

#include "edit.h"

/* Rule last-ack: a client that ends a connection of which the kernel keeps no more than TIME-WAIT. That speaks the own
 * socket's sequence space, in which the client may not be any more once the flow is gone; the answer is made from the
 * FIN itself, which says all: what the client expects, the newest timestamp it has seen, and what is acknowledged.
 * What only changes places does not change the checksum. */
static __noinline int answer_fin(struct __sk_buff *skb, const struct segment *s)
{
	__be16 port[2] = { s->tcp.dest, s->tcp.source };
	__be32 number[2] = { s->tcp.ack, bpf_htonl(bpf_ntohl(s->tcp.seq) + 1) };
	__be16 flags = bpf_htons(s->tcp.doff << 8 | s->tcp.flags), ack = bpf_htons(s->tcp.doff << 8 | TCP_ACK);
	__u32 stamps = s->options ? find_options(s) & 0xff : 0;

	if (bpf_skb_store_bytes(skb, s->offset, port, 4, 0) || bpf_skb_store_bytes(skb, s->offset + TCP_SEQ, number, 8, 0) ||
	    bpf_l4_csum_replace(skb, s->offset + TCP_CHECK, s->tcp.seq, number[1], 4) ||
	    set_word(skb, s, TCP_FLAGS, flags, ack) || (stamps && swap(skb, s->offset + TCP_BASE + stamps + 1, 4)) ||
	    set_hops(skb, hops_left(skb), LAST_ACK_HOPS) || swap(skb, 0, 6) ||
	    (skb->protocol == bpf_htons(ETH_P_IP) ? swap(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, saddr), 4) :
						    swap(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, saddr), 16)))
		return TC_ACT_SHOT;
	count(COUNT_LAST_ACK);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
