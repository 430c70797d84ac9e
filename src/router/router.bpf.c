/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The router: what a node does to segments on its interface. Every rule is named as in docs/protocol.md.
 *
 *   client --> ingress at the anchor: observe, forward to targets, translate for the own socket
 *          --> ingress at a target:   trim, translate for the half-pipe's socket
 *   own socket --> egress:            translate to the client's sequence space, guard foreign addresses
 *
 * Every node that sends on a flow has one socket with its own contiguous sequence space; ranges map between it and
 * the client's. Fields of `flow_rules` are written by user space only, fields of `flow_observed` by programs only.
 */
#include "router.h"

static __always_inline void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);

	if (value)
		*value += 1;
}

static __always_inline int alive(__u64 now)
{
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&control, &zero);

	return c && now < c->alive_until_ns;
}

static __always_inline __u32 public_kind(const struct address *address)
{
	__u32 *kind = bpf_map_lookup_elem(&publics, address);

	return kind ? *kind : PUBLIC_NONE;
}

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

/* A flow's key, from a segment that the client sent; the other way `key_to_client`. */
static __always_inline struct flow_key key_from_client(const struct segment *s)
{
	struct flow_key key = { s->source, s->destination, s->tcp.source, s->tcp.dest };

	return key;
}

static __always_inline struct flow_key key_to_client(const struct segment *s)
{
	struct flow_key key = { s->destination, s->source, s->tcp.dest, s->tcp.source };

	return key;
}

/* The rules in force: user space writes the other copy, then switches (one word). */
static __always_inline const struct flow_rules *rules_of(__u32 slot)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &slot);

	return flow ? &flow->copy[*(volatile __u32 *)&flow->active & 1] : NULL;
}

/* The role of this node in a flow, with where the flow is; ROLE_NONE: there is no flow. */
static __always_inline __u32 find_flow(const struct flow_key *key, __u32 *slot, const struct flow_rules **r,
				       struct flow_observed **o)
{
	__u32 *found = bpf_map_lookup_elem(&slots, key);

	if (!found)
		return ROLE_NONE;
	*slot = *found;
	*r = rules_of(*found);
	*o = bpf_map_lookup_elem(&observed, found);
	return *r && *o ? (*r)->role : ROLE_NONE;
}

/* Functions that are not static are verified once, by themselves; hence their tests for NULL. */

/* Rule to-local: the client's sequence number in the own socket's space, clamped into the own ranges. */
__noinline __u32 to_local(const struct flow_rules *r, __u32 wire)
{
	__u32 local, last_end = wire;
	int seen = 0, last_open = 1;

	if (!r)
		return 0;
	local = r->own_next;

	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		last_open = g->open;
		last_end = g->end;
		if (g->owner != OWNER_SELF)
			continue;
		if (after_eq(wire, g->start)) {
			__u32 offset = wire - g->start;

			if (!g->open && offset > g->end - g->start)
				offset = g->end - g->start;
			local = g->local + offset;
		} else if (!seen) {
			local = g->local;
		}
		seen = 1;
	}
	/* What the own socket sends next follows a last range whose end is known. */
	if (!last_open && r->role == ROLE_ANCHOR && after_eq(wire, last_end))
		local = r->own_next + (wire - last_end);
	return local;
}

/* How far stamps of the own socket are ahead of its clock, for the range that holds `wire`. */
__noinline __u32 stamp_of(const struct flow_rules *r, __u32 wire)
{
	__u32 stamp = 0;

	if (!r)
		return 0;
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		if (i >= r->count)
			break;
		if (r->range[i].owner == OWNER_SELF && (i == 0 || after_eq(wire, r->range[i].start)))
			stamp = r->range[i].stamp;
	}
	return stamp;
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

/* Rule sack-filter: blocks that make sense to the own socket, in its space, are moved to the front; what remains of
 * the option becomes NOPs. */
__noinline int translate_sack(const struct flow_rules *r, struct segment *s, __u32 at, __u32 ack)
{
	__u32 blocks, kept = 0;

	if (!r || !s)
		return 0;
	blocks = s->tcp.option[(at + 1) & TCP_OPTIONS_MASK];
	blocks = blocks < 10 ? 0 : (blocks - 2) >> 3;
	for (__u32 i = 0; i < MAX_SACK_BLOCKS; i++) {
		__u32 left, right;

		if (i >= blocks)
			break;
		left = to_local(r, option32(s, at + 2 + i * 8));
		right = to_local(r, option32(s, at + 6 + i * 8));
		/* Nothing of it is ours; or it would claim the very next byte is held (reneging, RFC 2018). */
		if (!after(right, left) || left == ack || (before(left, ack) && after(right, ack)))
			continue;
		set_option32(s, at + 2 + kept * 8, left);
		set_option32(s, at + 6 + kept * 8, right);
		kept++;
	}
	if (kept == blocks)
		return 0;
	count(COUNT_SACK_REMOVED);
	for (__u32 i = 0; i < MAX_SACK_BLOCKS; i++) {
		if (i < kept || i >= blocks)
			continue;
		set_option32(s, at + 2 + i * 8, NOPS);
		set_option32(s, at + 6 + i * 8, NOPS);
	}
	s->tcp.option[(at + 1) & TCP_OPTIONS_MASK] = kept ? 2 + kept * 8 : OPTION_NOP;
	if (!kept)
		s->tcp.option[at & TCP_OPTIONS_MASK] = OPTION_NOP;
	return 0;
}

/* Where the own last range starts; `wire` when there is none. */
static __always_inline __u32 own_last_start(const struct flow_rules *r, __u32 wire)
{
	__u32 start = wire;

	for (__u32 i = 0; i < MAX_RANGES; i++) {
		if (i >= r->count)
			break;
		if (r->range[i].owner == OWNER_SELF)
			start = r->range[i].start;
	}
	return start;
}

/* Rule unsent: a response that goes on at another node may have been sent further by the one before. The kernel would
 * discard the whole segment, now and each time; what it has sent is acknowledged in any case. */
static __always_inline __u32 unsent(const struct flow_observed *o, __u32 local)
{
	return after(local, o->sent_next) ? o->sent_next : local;
}

/* What the own socket has sent, as the kernel counts. What was seen leaving may have been dropped by the interface's
 * queue, and then counts as unsent: `otherwise` is after it. */
static __noinline __u32 sent_by_socket(struct __sk_buff *skb, const struct segment *s, __u32 otherwise)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *socket;

	if (!s)
		return otherwise;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		tuple.ipv4.saddr = s->source.word[3];
		tuple.ipv4.daddr = s->destination.word[3];
		tuple.ipv4.sport = s->tcp.source;
		tuple.ipv4.dport = s->tcp.dest;
		socket = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &s->source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &s->destination, 16);
		tuple.ipv6.sport = s->tcp.source;
		tuple.ipv6.dport = s->tcp.dest;
		socket = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return otherwise;
	tcp = socket->state == BPF_TCP_LISTEN ? NULL : bpf_tcp_sock(socket);
	if (tcp && before(tcp->snd_nxt, otherwise))
		otherwise = tcp->snd_nxt;
	bpf_sk_release(socket);
	return otherwise;
}

/* Notes what leaves the own socket; a FIN takes a number as well. */
static __always_inline void note_sent(struct flow_observed *o, const struct segment *s, __u32 local)
{
	__u32 next = local + s->payload + (s->tcp.flags & TCP_FIN ? 1 : 0);

	if (after(next, o->sent_next))
		o->sent_next = next;
}

/* Rewrites what the client says about the out-half into what the own socket may hear of it. */
static __always_inline void acknowledge_locally(struct __sk_buff *skb, const struct flow_rules *r, struct segment *s,
						struct flow_observed *o, int duplicate)
{
	__u32 ack = bpf_ntohl(s->tcp.ack);
	__u32 window = (__u32)bpf_ntohs(s->tcp.window) << (r->client_scale & 15);
	__u32 local = unsent(o, to_local(r, ack));
	__u32 options = s->options ? find_options(s) : 0;
	__u32 stamps = options & 0xff, sack = options >> 8;
	const struct range *last = &r->range[(r->count - 1) & (MAX_RANGES - 1)];

	/* A client that has more than was sent says the same again and again. */
	if (duplicate)
		local = sent_by_socket(skb, s, local);
	s->tcp.ack = bpf_htonl(local);
	/* Rule window: bytes of others lie between what is acknowledged and the own last range. They are no room for
	 * the own socket, which must not send beyond the edge that the client gave. (Rounded up: a tail smaller than
	 * the window's unit would never be let go.) While a target's end is unknown an anchor's socket has nothing to
	 * send, and its window is set anew before it has. */
	if (before(ack, own_last_start(r, ack)) && !(r->role == ROLE_ANCHOR && last->owner != OWNER_SELF && last->open)) {
		__u32 unit = (1U << (r->client_scale & 15)) - 1;
		__u32 edge = to_local(r, ack + window);
		__u32 mine = after(edge, local) ? edge - local + unit : 0;

		if (mine < window)
			s->tcp.window = bpf_htons(mine >> (r->client_scale & 15));
	}
	o->window = (__u32)bpf_ntohs(s->tcp.window) << (r->client_scale & 15);
	/* 0: none seen yet; a client's clock may begin anywhere. */
	if (stamps && (!o->tsval || after(option32(s, stamps + 1), o->tsval)))
		o->tsval = option32(s, stamps + 1);
	if (stamps && option32(s, stamps + 5))
		set_option32(s, stamps + 5, option32(s, stamps + 5) - stamp_of(r, ack));
	if (sack)
		translate_sack(r, s, sack - 1, local);
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

/* Writes the changed TCP header back, with the checksum brought along. */
static __always_inline int write_header(struct __sk_buff *skb, const struct segment *s, const struct tcp_header *old)
{
	__s64 diff = bpf_csum_diff((__be32 *)old, TCP_HEADER, (__be32 *)&s->tcp, TCP_HEADER, 0);

	if (diff < 0 || bpf_skb_store_bytes(skb, s->offset, &s->tcp, TCP_BASE, 0))
		return -1;
	if (store_options(skb, s, 0))
		return -1;
	return bpf_l4_csum_replace(skb, s->offset + TCP_CHECK, 0, diff, 0);
}

/* Rule trim: a target's kernel sees the acknowledgement, never the client's payload. The checksum is made anew;
 * the copy was verified where it came in. */
static __noinline int write_trimmed(struct __sk_buff *skb, struct segment *s)
{
	__u32 length = TCP_BASE + s->options;
	struct {
		struct address source, destination;
		__be32 length, protocol;
	} pseudo = { s->source, s->destination, bpf_htonl(length), bpf_htonl(IPPROTO_TCP) };
	__s64 sum;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be16 total = bpf_htons(s->offset - ETH_HLEN + length), was;
		__u32 at = ETH_HLEN + __builtin_offsetof(struct iphdr, tot_len);

		/* The mapped prefix of both addresses is no part of IPv4's pseudo-header. */
		pseudo.source.word[2] = pseudo.destination.word[2] = 0;
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
	sum = bpf_csum_diff(0, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)&s->tcp, TCP_HEADER, sum);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	s->tcp.check = ~sum;
	if (bpf_skb_store_bytes(skb, s->offset, &s->tcp, TCP_BASE, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (store_options(skb, s, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return 0;
}

static __always_inline void observe(struct flow_observed *o, const struct flow_rules *r, const struct segment *s)
{
	__u32 ack = bpf_ntohl(s->tcp.ack);
	__u32 edge = ack + ((__u32)bpf_ntohs(s->tcp.window) << (r->client_scale & 15));

	if (after(ack, o->ack))
		o->ack = ack;
	if (after(edge, o->edge))
		o->edge = edge;
	o->segments++;
}

/* Rule watch: tells user space once that the client has acknowledged the watched byte. */
static __always_inline void watch(__u32 slot, const struct flow_rules *r, struct flow_observed *o)
{
	void *ring;
	__u32 engine = r->engine;
	struct event *event;

	if (!(r->flags & FLAG_WATCH) || o->watched == r->epoch || !after_eq(o->ack, r->watch))
		return;
	ring = bpf_map_lookup_elem(&events, &engine);
	if (!ring)
		return;
	event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);
	if (!event) {
		count(COUNT_EVENT_LOST);
		return;
	}
	event->slot = slot;
	event->epoch = r->epoch;
	event->ack = o->ack;
	event->edge = o->edge;
	o->watched = r->epoch;
	bpf_ringbuf_submit(event, r->flags & FLAG_WAKE ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline int set_sequence(struct __sk_buff *skb, __u32 offset, __be32 from, __be32 to)
{
	if (from == to)
		return 0;
	return bpf_skb_store_bytes(skb, offset + TCP_SEQ, &to, 4, 0) ||
	       bpf_l4_csum_replace(skb, offset + TCP_CHECK, from, to, 4);
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

/* Two fields of `size` bytes, one behind the other, change places. */
static __always_inline int swap(struct __sk_buff *skb, __u32 at, const __u32 size)
{
	__u8 both[32];

	return bpf_skb_load_bytes(skb, at, both, 2 * size) || bpf_skb_store_bytes(skb, at, both + size, size, 0) ||
	       bpf_skb_store_bytes(skb, at + size, both, size, 0);
}

/* Rule copy: what an anchor sends on to its targets, told by the one hop that is left. */
static __always_inline int is_copy(struct __sk_buff *skb)
{
	return hops_left(skb) == COPY_HOPS;
}

/* Rule forward: each owner of unfinished bytes whose part of the window is open gets the segment. Rule late-forward:
 * an owner that lets go by itself may have missed the acknowledgement of its last byte; it then retransmits, and the
 * client answers with an acknowledgement that says nothing new. It gets those, and nothing else. */
static __always_inline int forward(struct __sk_buff *skb, const struct segment *s, const struct flow_rules *r,
				   const struct flow_observed *o, __u32 edge, int keep, int duplicate)
{
	__be32 told = o->in_ack ? bpf_htonl(o->in_ack) : s->tcp.seq;
	__u64 done = 0;
	int redirect_pending = 0;
	__u8 hops = hops_left(skb), own[6];

	bpf_skb_load_bytes(skb, 0, own, 6);
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];
		struct peer *peer;
		__u32 owner;

		if (i >= r->count)
			break;
		owner = g->owner;
		if (owner == OWNER_SELF || owner >= MAX_PEERS || (done & (1ULL << owner)) || !after(edge, g->start) ||
		    (g->late && !duplicate))
			continue;
		done |= 1ULL << owner;
		peer = bpf_map_lookup_elem(&peers, &owner);
		if (!peer)
			continue;
		if (!redirect_pending &&
		    (set_sequence(skb, s->offset, s->tcp.seq, told) || set_hops(skb, hops, COPY_HOPS)))
			return TC_ACT_SHOT;
		if (redirect_pending && bpf_clone_redirect(skb, skb->ifindex, 0))
			count(COUNT_FORWARD_FAILED);
		bpf_skb_store_bytes(skb, 0, peer->mac, 6, 0);
		bpf_skb_store_bytes(skb, 6, own, 6, 0);
		redirect_pending = 1;
		count(COUNT_FORWARDED);
	}
	if (!redirect_pending)
		return keep ? TC_ACT_UNSPEC : TC_ACT_SHOT;
	if (!keep)
		return bpf_redirect(skb->ifindex, 0);
	if (bpf_clone_redirect(skb, skb->ifindex, 0))
		count(COUNT_FORWARD_FAILED);
	return set_sequence(skb, s->offset, told, s->tcp.seq) || set_hops(skb, COPY_HOPS, hops) ? TC_ACT_SHOT :
												    TC_ACT_UNSPEC;
}

/* Where a flow is, in the bits of the TCP header that are reserved. */
static __always_inline __u8 epoch_bits(const struct flow_rules *r)
{
	return r->epoch << EPOCH_SHIFT & EPOCH_BITS;
}

/* A word of the TCP header, with the checksum brought along. */
static __always_inline int set_word(struct __sk_buff *skb, const struct segment *s, __u32 field, __be16 from, __be16 to)
{
	return bpf_skb_store_bytes(skb, s->offset + field, &to, 2, 0) ||
	       bpf_l4_csum_replace(skb, s->offset + TCP_CHECK, from, to, 2);
}

/* Rule follow: the client's next request goes to the clone that has sent the response before it as well, with the
 * client's own sequence number. Marked by URG; the urgent pointer is the time, so that one that comes late is known, and
 * the reserved bits are the epoch's last: a clone that is one request ahead of the anchor goes no further.
 * Nonzero: the segment cannot be made whole again. */
static __always_inline int follow(struct __sk_buff *skb, const struct segment *s, const struct flow_rules *r,
				  struct flow_observed *o)
{
	__u32 owner = r->range[(r->count - 1) & (MAX_RANGES - 1)].owner, next = bpf_ntohl(s->tcp.seq) + s->payload;
	__be16 flags = bpf_htons(s->tcp.doff << 8 | s->tcp.flags);
	__be16 marked = bpf_htons((s->tcp.doff & ~EPOCH_BITS) << 8 | epoch_bits(r) << 8 | s->tcp.flags | TCP_URG);
	__be16 now_ms = bpf_htons((__u16)(bpf_ktime_get_ns() / 1000000));
	struct peer *peer = bpf_map_lookup_elem(&peers, &owner);
	__u8 hops = hops_left(skb), own[6];

	if (!peer || owner == OWNER_SELF)
		return 0;
	if (after(next, o->followed))
		o->followed = next;
	bpf_skb_load_bytes(skb, 0, own, 6);
	if (set_word(skb, s, TCP_FLAGS, flags, marked) || set_word(skb, s, TCP_URGENT, s->tcp.urgent, now_ms) ||
	    set_hops(skb, hops, COPY_HOPS) || bpf_skb_store_bytes(skb, 0, peer->mac, 6, 0) ||
	    bpf_skb_store_bytes(skb, 6, own, 6, 0))
		return -1;
	count(COUNT_FOLLOWED);
	if (bpf_clone_redirect(skb, skb->ifindex, 0))
		count(COUNT_FORWARD_FAILED);
	return set_word(skb, s, TCP_FLAGS, marked, flags) || set_word(skb, s, TCP_URGENT, now_ms, s->tcp.urgent) ||
	       set_hops(skb, COPY_HOPS, hops);
}

/* A request that begins when the whole response before it is acknowledged; or, while its end is not known here, some. */
static __always_inline int follows(const struct flow_rules *r, const struct segment *s)
{
	const struct range *last = &r->range[(r->count - 1) & (MAX_RANGES - 1)];
	__u32 ack = bpf_ntohl(s->tcp.ack);

	if (!(r->flags & FLAG_FOLLOW) || !s->payload || (s->tcp.flags & TCP_URG))
		return 0;
	return last->open ? after(ack, last->start) : ack == r->watch;
}

/* Rule follow, at the clone: the bytes go to the engine; the socket's in-half stands still. */
static __always_inline void hand_over(struct __sk_buff *skb, const struct segment *s, __u32 slot,
				      const struct flow_rules *r, __u32 seq)
{
	__u32 zero = 0, engine = r->engine, length = s->payload;
	struct followed *record = bpf_map_lookup_elem(&scratch, &zero);
	void *ring = bpf_map_lookup_elem(&events, &engine);

	if (!record || !ring || length == 0)
		return;
	/* As in store_options. */
	asm volatile("" : "+r"(length));
	if (length > MAX_FOLLOWED_BYTES ||
	    bpf_skb_load_bytes(skb, s->offset + TCP_BASE + s->options, record->bytes, length))
		return;
	record->slot = slot;
	record->epoch = r->epoch;
	record->seq = seq;
	record->sent_ms = bpf_ntohs(s->tcp.urgent);
	record->length = length;
	record->arrived_ns = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(ring, record, __builtin_offsetof(struct followed, bytes) + length, BPF_RB_FORCE_WAKEUP))
		count(COUNT_EVENT_LOST);
}

/* Rule local-delivery: payload, control bits, ACKs while the own socket has something unfinished, and the client's
 * own probes (window, keepalive: a sequence number before what it sent last), which only the anchor can answer. */
static __always_inline int wants_delivery(const struct flow_rules *r, const struct segment *s,
					  struct flow_observed *o, __u32 acked)
{
	__u32 seq = bpf_ntohl(s->tcp.seq);

	if (s->payload || (s->tcp.flags & (TCP_FIN | TCP_RST | TCP_SYN))) {
		if (!o->in_next || after(seq + s->payload, o->in_next))
			o->in_next = seq + s->payload;
		return 1;
	}
	if (o->in_next && before(seq, o->in_next))
		return 1;
	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		if (g->owner == OWNER_SELF && (g->open || after(g->end, acked)))
			return 1;
	}
	return 0;
}

static __always_inline int ingress_anchor(struct __sk_buff *skb, struct segment *s, __u32 slot,
					  const struct flow_rules *r, struct flow_observed *o)
{
	struct tcp_header old = s->tcp;
	__u32 acked = o->ack, edge;
	int keep, verdict, duplicate;

	if (s->tcp.flags & TCP_SYN)
		return TC_ACT_UNSPEC;
	/* A reset is judged by the anchor's kernel alone; its engine tells the targets. Rule reset-while-closing: the
	 * kernel has let go of a closing connection, so a reset near what the client sent last is noted here. */
	if (s->tcp.flags & TCP_RST) {
		__u32 beyond = bpf_ntohl(s->tcp.seq) - o->in_next + RESET_SLACK;

		if ((r->flags & FLAG_CLOSING) && beyond <= 2 * RESET_SLACK)
			o->watched = WATCHED_RESET;
		return TC_ACT_UNSPEC;
	}
	if (!(s->tcp.flags & TCP_ACK) || r->count == 0)
		return TC_ACT_UNSPEC;
	edge = bpf_ntohl(s->tcp.ack) + ((__u32)bpf_ntohs(s->tcp.window) << (r->client_scale & 15));
	observe(o, r, s);
	keep = wants_delivery(r, s, o, acked);
	watch(slot, r, o);
	duplicate = !s->payload && !(s->tcp.flags & TCP_FIN) && !after(bpf_ntohl(s->tcp.ack), acked);
	if (follows(r, s)) {
		if (follow(skb, s, r, o))
			return TC_ACT_SHOT;
	} else if (!(s->tcp.flags & TCP_URG)) {
		verdict = forward(skb, s, r, o, edge, keep, duplicate);
		if (!keep || verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	acknowledge_locally(skb, r, s, o, duplicate);
	if (write_header(skb, s, &old))
		return TC_ACT_SHOT;
	count(COUNT_TRANSLATED_IN);
	return TC_ACT_UNSPEC;
}

static __always_inline int ingress_target(struct __sk_buff *skb, struct segment *s, __u32 slot,
					  const struct flow_rules *r, struct flow_observed *o)
{
	struct tcp_header old = s->tcp;
	__u32 seq = bpf_ntohl(s->tcp.seq);
	int duplicate, followed = s->payload && (s->tcp.flags & TCP_URG);
	int whole = bpf_ntohl(s->tcp.ack) == r->watch;

	if ((s->tcp.flags & (TCP_SYN | TCP_RST)) || !(s->tcp.flags & TCP_ACK) || r->count == 0) {
		count(COUNT_STRAY);
		return TC_ACT_SHOT;
	}
	duplicate = !s->payload && !(s->tcp.flags & TCP_FIN) && !after(bpf_ntohl(s->tcp.ack), o->ack);
	observe(o, r, s);
	/* Rule in-ack: the copy's sequence number is what the anchor has acknowledged; not one that rule follow sent. */
	if (!followed && o->in_ack && after(seq, o->in_ack))
		o->in_ack = seq;
	acknowledge_locally(skb, r, s, o, duplicate);
	/* Rule frozen-in-half: the client's half stands still for the half-pipe's socket. */
	s->tcp.seq = bpf_htonl(r->in_local);
	s->tcp.flags &= ~(TCP_FIN | TCP_PSH | TCP_URG);
	watch(slot, r, o);
	if (followed && whole && (r->flags & FLAG_FOLLOW) && (old.doff & EPOCH_BITS) == epoch_bits(r))
		hand_over(skb, s, slot, r, seq);
	if (followed) {
		s->tcp.urgent = 0;
		s->tcp.doff &= ~EPOCH_BITS;
	}
	count(COUNT_TRANSLATED_IN);
	if (s->payload) {
		count(COUNT_TRIMMED);
		return write_trimmed(skb, s) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}
	return write_header(skb, s, &old) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

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
	if (bpf_skb_load_bytes(skb, 0, own, 6) || bpf_skb_store_bytes(skb, 0, peer->mac, 6, 0) ||
	    bpf_skb_store_bytes(skb, 6, own, 6, 0))
		goto failed;
	count(COUNT_DIVERTED);
	return bpf_redirect(skb->ifindex, 0);
failed:
	count(COUNT_DIVERT_FAILED);
	return TC_ACT_SHOT;
}

static __always_inline __u32 control_flags(void)
{
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&control, &zero);

	return c ? c->flags : 0;
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

/* Whether a listener may get a segment: one that begins a connection, or answers its SYN cookie. Any other it would
 * answer with a reset: the copy of an acknowledgement for a half-pipe that has just let go. */
static __always_inline int may_begin(struct __sk_buff *skb, struct bpf_sock *listener, __u32 offset)
{
	struct tcphdr tcp;
	struct ipv6hdr ip;
	__u32 length = skb->protocol == bpf_htons(ETH_P_IP) ? sizeof(struct iphdr) : sizeof(ip);

	if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof(tcp)))
		return 0;
	if (tcp.syn)
		return 1;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return 0;
	return !bpf_tcp_check_syncookie(listener, &ip, length, &tcp, sizeof(tcp));
}

enum { SOCKET_NONE, SOCKET_WHOLE, SOCKET_LISTENS, SOCKET_TIME_WAIT };

/* Whether the kernel has a socket for these endpoints, or a listener for the local ones. `offset`: of TCP in a segment
 * of the client, which must be one for a listener then; 0 when it is not about one. */
static __noinline int has_socket(struct __sk_buff *skb, const struct flow_key *key, __u32 offset)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *socket;
	int what;

	if (!key)
		return SOCKET_NONE;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		tuple.ipv4.saddr = key->client.word[3];
		tuple.ipv4.daddr = key->public.word[3];
		tuple.ipv4.sport = key->client_port;
		tuple.ipv4.dport = key->public_port;
		socket = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &key->client, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &key->public, 16);
		tuple.ipv6.sport = key->client_port;
		tuple.ipv6.dport = key->public_port;
		socket = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return SOCKET_NONE;
	if (socket->state == BPF_TCP_LISTEN)
		what = SOCKET_LISTENS;
	else
		what = socket->state == BPF_TCP_TIME_WAIT ? SOCKET_TIME_WAIT : SOCKET_WHOLE;
	if (offset && what == SOCKET_LISTENS && !may_begin(skb, socket, offset))
		what = SOCKET_NONE;
	bpf_sk_release(socket);
	return what;
}

SEC("tc")
int baton_ingress(struct __sk_buff *skb)
{
	struct segment s = {};
	struct flow_key key;
	__u32 kind, slot = 0, flags, owner = OWNER_SELF, role;
	const struct flow_rules *r = NULL;
	struct flow_observed *o = NULL;
	struct route *route = NULL;
	int what = parse(skb, &s);

	if (what == NOT_TCP)
		return neighbour_filter(skb, 0);
	kind = public_kind(&s.destination);
	if (what == NOT_PLAIN) {
		/* Rule stray: a foreign public address is spoken to only in whole, plain segments. */
		if (kind == PUBLIC_FOREIGN && hides_tcp(skb)) {
			count(COUNT_STRAY);
			return TC_ACT_SHOT;
		}
		return neighbour_filter(skb, 0);
	}
	if (kind == PUBLIC_NONE)
		return TC_ACT_UNSPEC;
	key = key_from_client(&s);
	flags = control_flags();
	if (flags & CONTROL_ROUTES) {
		route = bpf_map_lookup_elem(&routes, &key);
		if (route)
			owner = route->owner;
	}
	role = find_flow(&key, &slot, &r, &o);
	if (is_copy(skb)) {
		/* Whoever is not its target has no use for it: it bears another sequence number. */
		if (role == ROLE_TARGET && r && o && alive(bpf_ktime_get_ns()))
			return ingress_target(skb, &s, slot, r, o);
		count(COUNT_STRAY);
		return TC_ACT_SHOT;
	}
	if (role == ROLE_ANCHOR && owner == OWNER_SELF && r && o && alive(bpf_ktime_get_ns())) {
		/* Rule syn-ends-flow: the client uses the port anew. Whether the connection before it is over the
		 * kernel knows; user space may not have seen it yet. */
		if (!(s.tcp.flags & TCP_SYN) || has_socket(skb, &key, 0) == SOCKET_WHOLE)
			return ingress_anchor(skb, &s, slot, r, o);
		bpf_map_delete_elem(&slots, &key);
		count(COUNT_SYN_ENDED);
	}
	/* A route to this node: what was sent elsewhere by its SYN has come back. */
	if (!route && kind == PUBLIC_OWN && (flags & CONTROL_SPREAD))
		owner = spread_owner(&key, (s.tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN, flags);
	if (owner != OWNER_SELF)
		return divert(skb, owner);
	/* Rule stray: what reaches a foreign public address is for a socket here, or for nobody. What reaches a connection
	 * that arrives is for its socket: a listener would take it for a stranger's. A half-pipe takes copies only. */
	if (kind == PUBLIC_FOREIGN || role == ROLE_OWNER || role == ROLE_TARGET) {
		int socket = has_socket(skb, &key, s.offset);

		if (socket == SOCKET_NONE || role == ROLE_TARGET || (role == ROLE_OWNER && socket == SOCKET_LISTENS)) {
			count(COUNT_STRAY);
			return TC_ACT_SHOT;
		}
	}
	if (role == ROLE_OWNER && o)
		o->segments++;
	if (role == ROLE_NONE && !s.payload && (s.tcp.flags & TCP_CONTROL) == (TCP_FIN | TCP_ACK) &&
	    !(find_options(&s) >> 8) && has_socket(skb, &key, 0) == SOCKET_TIME_WAIT)
		return answer_fin(skb, &s);
	return TC_ACT_UNSPEC;
}

/* The own range that holds the own socket's sequence number; NULL when none does. */
static __always_inline const struct range *range_of_local(const struct flow_rules *r, __u32 local)
{
	const struct range *found = NULL;

	for (__u32 i = 0; i < MAX_RANGES; i++) {
		const struct range *g = &r->range[i];

		if (i >= r->count)
			break;
		if (g->owner == OWNER_SELF &&
		    (g->open ? after_eq(local, g->local) : local - g->local < g->end - g->start))
			found = g;
	}
	return found;
}

/* Whether a segment's tail has no place in its range: it would land on bytes of others. */
static __always_inline int reaches_beyond(const struct range *g, __u32 local, __u32 payload)
{
	return !g->open && payload && payload > (g->end - g->start) - (local - g->local);
}

/* Rule away-ack: what the anchor's socket sends while bytes of a target are on their way carries no data. Its
 * sequence number is the last one inside the client's window: acceptable wherever the client is (RFC 9293 3.10.7.4),
 * and beyond the point up to which timestamps are remembered (RFC 7323 4.3). */
static __always_inline __u32 away_sequence(const struct flow_rules *r, const struct flow_observed *o, __u32 local)
{
	const struct range *last = &r->range[(r->count - 1) & (MAX_RANGES - 1)];

	/* A window probe: one acknowledged byte before, so that the client answers with what it holds. */
	if (local == r->own_next - 1)
		return o->ack - 1;
	/* Rule follow: the clone may be sending by now, and no time of ours may be remembered before its. */
	if (!last->open && after_eq(o->ack, last->end) && !(r->flags & FLAG_FOLLOW))
		return o->ack;
	return after(o->edge, o->ack) ? o->edge - 1 : o->ack;
}

static __always_inline int egress_anchor(struct __sk_buff *skb, struct segment *s, const struct flow_rules *r,
					 struct flow_observed *o)
{
	struct tcp_header old = s->tcp;
	__u32 local = bpf_ntohl(s->tcp.seq), stamps;
	const struct range *g;
	__u32 stamp = r->stamp;

	if ((s->tcp.flags & TCP_SYN) || r->count == 0)
		return TC_ACT_UNSPEC;
	/* Rule in-ack: for the targets, which acknowledge no less. */
	if (o->in_ack && (s->tcp.flags & TCP_ACK) && after(bpf_ntohl(s->tcp.ack), o->in_ack))
		o->in_ack = bpf_ntohl(s->tcp.ack);
	g = range_of_local(r, local);
	/* Rule probe: the byte before the first one that is not acknowledged; it may lie in no range any more. */
	if (!g && !s->payload && !(s->tcp.flags & (TCP_FIN | TCP_RST)))
		g = range_of_local(r, local + 1);
	if (g && reaches_beyond(g, local, s->payload)) {
		count(COUNT_NO_RANGE);
		return TC_ACT_SHOT;
	}
	if (g) {
		note_sent(o, s, local);
		s->tcp.seq = bpf_htonl(g->start + (local - g->local));
		stamp = g->stamp;
	} else if (s->tcp.flags & TCP_RST) {
		s->tcp.seq = bpf_htonl(o->ack);
	} else if (s->payload || (s->tcp.flags & TCP_FIN)) {
		/* Rule no-range: the socket may not send what has no place in the client's space. */
		count(COUNT_NO_RANGE);
		return TC_ACT_SHOT;
	} else {
		s->tcp.seq = bpf_htonl(away_sequence(r, o, local));
		count(COUNT_AWAY_ACK);
	}
	/* A reset is heard only where the client is, which bytes of a target that has failed may have taken further. */
	if ((s->tcp.flags & TCP_RST) && before(bpf_ntohl(s->tcp.seq), o->ack))
		s->tcp.seq = bpf_htonl(o->ack);
	stamps = stamp && s->options ? find_options(s) & 0xff : 0;
	if (stamps)
		set_option32(s, stamps + 1, option32(s, stamps + 1) + stamp);
	count(COUNT_TRANSLATED_OUT);
	return write_header(skb, s, &old) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

static __always_inline int egress_target(struct __sk_buff *skb, struct segment *s, const struct flow_rules *r,
					 struct flow_observed *o, __u64 now)
{
	struct tcp_header old = s->tcp;
	__u32 local = bpf_ntohl(s->tcp.seq), stamps;
	const struct range *g = range_of_local(r, local);

	if (!s->payload) {
		/* Rule quiet: the anchor acknowledges, a target does not. Only its probes (sequence number before
		 * what it sent last) may ask the client for the window. */
		if (!before(local, o->sent_next)) {
			count(COUNT_QUIET);
			return TC_ACT_SHOT;
		}
		if (!g)
			g = range_of_local(r, local + 1);
	}
	if (!g || reaches_beyond(g, local, s->payload)) {
		count(COUNT_NO_RANGE);
		return TC_ACT_SHOT;
	}
	/* Rule lease: a target that the anchor may have given up sends nothing: not what is late, and not again what was
	 * lost. Once the client has acknowledged a byte of it, the anchor knows it as well. */
	if (s->payload && g->leased && now > r->lease_ns && !after(o->ack, g->start)) {
		count(COUNT_LEASE_ENDED);
		return TC_ACT_SHOT;
	}
	if (s->payload)
		note_sent(o, s, local);
	s->tcp.seq = bpf_htonl(g->start + (local - g->local));
	/* Rule frozen-in-half, the other way: what the anchor has, and its window. A client takes no timestamp from a
	 * segment whose acknowledgement is older than one before (rule in-ack). */
	s->tcp.ack = bpf_htonl(o->in_ack && after(o->in_ack, r->in_wire) ? o->in_ack : r->in_wire);
	s->tcp.window = bpf_htons(r->in_window);
	stamps = s->options ? find_options(s) & 0xff : 0;
	if (stamps) {
		set_option32(s, stamps + 1, option32(s, stamps + 1) + g->stamp);
		if (r->in_tsecr && before(option32(s, stamps + 5), r->in_tsecr))
			set_option32(s, stamps + 5, r->in_tsecr);
	}
	count(COUNT_TRANSLATED_OUT);
	return write_header(skb, s, &old) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* The socket of a process that has ended. */
static __always_inline int is_orphan(struct __sk_buff *skb, const struct segment *s)
{
	struct bpf_sock *socket = skb->sk;

	if (socket)
		socket = bpf_sk_fullsock(socket);
	return socket && socket->dst_port == s->tcp.dest && socket->state != BPF_TCP_ESTABLISHED;
}

/* Rule guard, for a connection that another node's address owns: it lives here when a whole socket of ours sends,
 * or, in the handshake and after the end, one that the kernel knows. */
static __always_inline int is_owner(struct __sk_buff *skb, const struct segment *s, const struct flow_key *key)
{
	struct bpf_sock *socket = skb->sk;

	if (skb->mark == HALF_PIPE_MARK)
		return 0;
	if (socket)
		socket = bpf_sk_fullsock(socket);
	if (socket && socket->dst_port == s->tcp.dest && socket->src_port == bpf_ntohs(s->tcp.source))
		return 1;
	return !(s->tcp.flags & TCP_RST) && has_socket(skb, key, 0);
}

SEC("tc")
int baton_egress(struct __sk_buff *skb)
{
	struct segment s = {};
	struct flow_key key;
	__u32 kind, slot, role;
	const struct flow_rules *r = NULL;
	struct flow_observed *o = NULL;
	__u64 now;
	int what = parse(skb, &s);

	if (what == NOT_TCP)
		return neighbour_filter(skb, 1);
	kind = public_kind(&s.source);
	if (what == NOT_PLAIN) {
		if (kind == PUBLIC_FOREIGN && hides_tcp(skb)) {
			count(COUNT_GUARD_STRAY);
			return TC_ACT_SHOT;
		}
		return neighbour_filter(skb, 1);
	}
	if (kind == PUBLIC_NONE)
		return TC_ACT_UNSPEC;
	key = key_to_client(&s);
	role = find_flow(&key, &slot, &r, &o);
	now = bpf_ktime_get_ns();
	/* Rule guard: a half-pipe's socket ends no connection, whatever happens to it. */
	if (role == ROLE_TARGET || skb->mark == HALF_PIPE_MARK || (kind == PUBLIC_FOREIGN && role == ROLE_NONE)) {
		if (role != ROLE_TARGET && is_owner(skb, &s, &key))
			return TC_ACT_UNSPEC;
		if (s.tcp.flags & (TCP_FIN | TCP_RST | TCP_SYN)) {
			count(s.tcp.flags & TCP_RST ? COUNT_GUARD_RST : COUNT_GUARD_FIN);
			return TC_ACT_SHOT;
		}
		if (role != ROLE_TARGET || !r || !o || !alive(now) || is_orphan(skb, &s)) {
			count(COUNT_GUARD_STRAY);
			return TC_ACT_SHOT;
		}
		return egress_target(skb, &s, r, o, now);
	}
	/* Rule arrived: until the move is confirmed, by the initiator or by a segment of the client, it may be undone.
	 * Before it is known to be ours nothing here ends it. */
	if (role == ROLE_OWNER && r && o && ((!o->segments && now > r->lease_ns) || (s.tcp.flags & (TCP_FIN | TCP_RST)))) {
		count(COUNT_LEASE_ENDED);
		return TC_ACT_SHOT;
	}
	if (role == ROLE_ANCHOR && r && o && alive(now))
		return egress_anchor(skb, &s, r, o);
	return TC_ACT_UNSPEC;
}

/* Rule congestion: the socket of a half-pipe, or of a connection that arrives, starts with the window that the flow's last sender had. */
SEC("sockops")
int baton_sockops(struct bpf_sock_ops *ops)
{
	struct flow_key key = {};
	__u32 zero = 0, *found;
	struct control *c = bpf_map_lookup_elem(&control, &zero);
	const struct flow_rules *r;
	int window;

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || !c || bpf_get_netns_cookie(ops) != c->netns_cookie)
		return 1;
	if (ops->family == AF_INET) {
		key.client.word[2] = key.public.word[2] = bpf_htonl(0xffff);
		key.client.word[3] = ops->remote_ip4;
		key.public.word[3] = ops->local_ip4;
	} else {
		for (int i = 0; i < 4; i++) {
			key.client.word[i] = ops->remote_ip6[i];
			key.public.word[i] = ops->local_ip6[i];
		}
	}
	key.client_port = bpf_htons(bpf_ntohl(ops->remote_port));
	key.public_port = bpf_htons(ops->local_port);
	found = bpf_map_lookup_elem(&slots, &key);
	if (!found)
		return 1;
	r = rules_of(*found);
	if (!r || r->role == ROLE_ANCHOR || !r->congestion_window)
		return 1;
	window = r->congestion_window;
	bpf_setsockopt(ops, IPPROTO_TCP, TCP_BPF_IW, &window, sizeof(window));
	return 1;
}

char _license[] SEC("license") = "GPL";
