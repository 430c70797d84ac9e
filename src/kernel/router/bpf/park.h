/* SPDX-License-Identifier: GPL-2.0 */
/* What comes of a connection while it moves: kept, and taken up again when it is known where the connection is. */
#ifndef BATON_PARK_H
#define BATON_PARK_H

#include "maps.h"

/* Keeps what is at skb->data, behind `headers` bytes from the frame's start on that are before it. `headers`, `size`:
 * constants. Nonzero: the ring has no room, or the frame does not fit. */
static __always_inline int keep(struct __sk_buff *skb, void *ring, const struct flow_key *key, const __u32 headers,
				const __u32 size)
{
	__u32 length = skb->len;
	struct parked *segment = bpf_ringbuf_reserve(ring, sizeof(*segment) + size, 0);

	if (!segment)
		return -1;
	segment->key = *key;
	segment->length = headers + length;
	segment->gso_size = skb->gso_size;
	if (headers && bpf_skb_load_bytes_relative(skb, 0, segment->frame, headers, BPF_HDR_START_MAC))
		goto failed;
	/* As in store_options. */
	asm volatile("" : "+r"(length));
	if (length == 0 || length > size - headers || bpf_skb_load_bytes(skb, 0, segment->frame + headers, length))
		goto failed;
	bpf_ringbuf_submit(segment, 0);
	return 0;
failed:
	/* Who has not been told of this one is not told of those behind it either. */
	bpf_ringbuf_discard(segment, 0);
	return -1;
}

static __always_inline int park_behind(struct __sk_buff *skb, const struct flow_key *key, __u32 engine,
				       const __u32 headers)
{
	void *ring = bpf_map_lookup_elem(&parkings, &engine);

	if (!ring)
		return -1;
	return headers + skb->len <= MAX_FRAME_BYTES ? keep(skb, ring, key, headers, MAX_FRAME_BYTES) :
						       keep(skb, ring, key, headers, MAX_LARGE_FRAME_BYTES);
}

/* Rule park: the connection's socket is deaf here, and at its next node there is none yet. The segment goes to the
 * engine that moves the connection. What has no room is lost, as on a wire. */
static __noinline int park(struct __sk_buff *skb, const struct flow_key *key, __u32 engine)
{
	count(key && !park_behind(skb, key, engine, 0) ? COUNT_PARKED : COUNT_PARK_FAILED);
	return TC_ACT_SHOT;
}

/* Reads whose segment it is that has come to a socket; returns the bytes of the frame before its TCP header, 0: it has
 * none that are known. */
static __always_inline __u32 key_at_socket(struct __sk_buff *skb, struct flow_key *key)
{
	/* Both ports. */
	if (bpf_skb_load_bytes(skb, 0, &key->client_port, 4))
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.ihl * 4 != sizeof(ip))
			return 0;
		key->client.word[2] = key->public.word[2] = bpf_htonl(0xffff);
		key->client.word[3] = ip.saddr;
		key->public.word[3] = ip.daddr;
		return ETH_HLEN + sizeof(ip);
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.nexthdr != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(&key->client, &ip.saddr, 16);
		__builtin_memcpy(&key->public, &ip.daddr, 16);
		return ETH_HLEN + sizeof(ip);
	}
}

/* Rule deaf: what had passed ingress just before rule park began comes to a socket that takes nothing any more, and is
 * kept as well. skb->data is at the TCP header. Of a flow it has been rewritten for the socket, and means nothing
 * elsewhere. */
static __noinline int park_at_socket(struct __sk_buff *skb)
{
	struct flow_key key = {};
	__u32 headers = key_at_socket(skb, &key), engine;
	struct route *route = headers ? bpf_map_lookup_elem(&routes, &key) : NULL;
	int failed = -1;

	if (route && (route->owner & OWNER_PARKED) && !bpf_map_lookup_elem(&slots, &key)) {
		engine = route->owner & ~OWNER_PARKED;
		failed = headers == ETH_HLEN + sizeof(struct iphdr) ?
				 park_behind(skb, &key, engine, ETH_HLEN + sizeof(struct iphdr)) :
				 park_behind(skb, &key, engine, ETH_HLEN + sizeof(struct ipv6hdr));
	}
	count(failed ? COUNT_PARK_FAILED : COUNT_PARKED);
	return 0;
}

/* Rule replay: an engine writes a parked segment to the interface. It comes in, as it did, and goes where the rules
 * want it by now. */
static __always_inline int replay(struct __sk_buff *skb)
{
	skb->mark = 0;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#endif
