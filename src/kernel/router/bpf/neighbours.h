/* SPDX-License-Identifier: GPL-2.0 */
/* Who answers for a public address on the link: ARP and neighbour discovery. */
#ifndef BATON_NEIGHBOURS_H
#define BATON_NEIGHBOURS_H

#include "maps.h"

/* Rules arp-filter and ndp-filter: only its owner answers for a public address, only with it asks. */
static __always_inline int neighbour_filter(struct __sk_buff *skb, int egress)
{
	if (skb->protocol == bpf_htons(ETH_P_ARP)) {
		struct arp_ipv4 arp;
		struct address sender = { .word = { 0, 0, bpf_htonl(0xffff), 0 } };
		struct address target = sender;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)) || arp.protocol != bpf_htons(ETH_P_IP))
			return TC_ACT_UNSPEC;
		__builtin_memcpy(&sender.word[3], arp.sender, 4);
		__builtin_memcpy(&target.word[3], arp.target, 4);
		if (!egress && arp.operation == bpf_htons(ARP_REQUEST) && public_kind(&target) == PUBLIC_FOREIGN) {
			count(COUNT_ARP_FILTERED);
			return TC_ACT_SHOT;
		}
		if (egress && public_kind(&sender) == PUBLIC_FOREIGN) {
			__u32 zero = 0;
			struct control *c = bpf_map_lookup_elem(&control, &zero);

			count(COUNT_ARP_FILTERED);
			if (!c || !c->address4 || arp.operation != bpf_htons(ARP_REQUEST))
				return TC_ACT_SHOT;
			bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct arp_ipv4, sender), &c->address4, 4, 0);
		}
		return TC_ACT_UNSPEC;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		struct address who;
		__u8 type;
		__u32 at = ETH_HLEN + sizeof(ip);

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_ICMPV6 ||
		    bpf_skb_load_bytes(skb, at, &type, 1) || bpf_skb_load_bytes(skb, at + 8, &who, 16))
			return TC_ACT_UNSPEC;
		if ((!egress && type == ND_SOLICITATION && public_kind(&who) == PUBLIC_FOREIGN) ||
		    (egress && type == ND_ADVERTISEMENT && public_kind(&who) == PUBLIC_FOREIGN)) {
			count(COUNT_ARP_FILTERED);
			return TC_ACT_SHOT;
		}
	}
	return TC_ACT_UNSPEC;
}

#endif
