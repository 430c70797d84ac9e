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
#include "bpf/anchor.h"
#include "bpf/heirs.h"
#include "bpf/icmp.h"
#include "bpf/neighbours.h"
#include "bpf/park.h"
#include "bpf/socket.h"
#include "bpf/target.h"

SEC("tc")
int baton_ingress(struct __sk_buff *skb)
{
	struct segment s = {};
	struct flow_key key;
	__u32 kind, slot = 0, flags, owner = OWNER_SELF, role;
	const struct flow_rules *r = NULL;
	struct flow_observed *o = NULL;
	struct route *route = NULL;
	int verdict, what = parse(skb, &s);

	if (what == NOT_TCP)
		return neighbour_filter(skb, 0);
	if (what == NOT_PLAIN) {
		kind = public_kind(&s.destination);
		/* Rule stray: a foreign public address is spoken to only in whole, plain segments. */
		if (kind == PUBLIC_FOREIGN && hides_tcp(skb)) {
			count(COUNT_STRAY);
			return TC_ACT_SHOT;
		}
		verdict = kind == PUBLIC_NONE ? TC_ACT_UNSPEC : icmp_error(skb);
		return verdict == TC_ACT_UNSPEC ? neighbour_filter(skb, 0) : verdict;
	}
	key = key_from_client(&s);
	role = find_flow(&key, &slot, &r, &o);
	/* A flow is of a public address: what most segments of one are, an anchor's or a copy, needs no more of it. */
	kind = role == ROLE_NONE ? public_kind(&s.destination) : PUBLIC_OWN;
	if (kind == PUBLIC_NONE)
		return TC_ACT_UNSPEC;
	flags = control_flags();
	if (flags & CONTROL_ROUTES) {
		route = bpf_map_lookup_elem(&routes, &key);
		if (route) {
			owner = route->owner;
			/* Nobody moves it any more. */
			if ((owner & OWNER_PARKED) && !alive(bpf_ktime_get_ns()))
				owner = OWNER_SELF;
			/* Rule divert: a route by which a connection may have begun is not ended. */
			if (s.tcp.flags & TCP_SYN)
				route->syn_second = bpf_ktime_get_ns() / 1000000000;
		}
	}
	if (s.hops == COPY_HOPS) {
		/* Whoever is not its target has no use for it: it bears another sequence number. */
		if (role == ROLE_TARGET && r && o && alive(bpf_ktime_get_ns()))
			return ingress_target(skb, &s, slot, r, o);
		count(COUNT_STRAY);
		return TC_ACT_SHOT;
	}
	if (role == ROLE_ANCHOR && owner == OWNER_SELF && r && o) {
		__u64 now = bpf_ktime_get_ns();
		int living = alive(now);

		if (!(s.tcp.flags & TCP_SYN)) {
			if (!(s.tcp.flags & TCP_RST) && (o->ended || (!living && targets_owe(r, o))))
				return answer_reset(skb, &s);
			return ingress_anchor(skb, &s, &key, slot, r, o, now);
		}
		/* Rule syn-ends-flow: the client uses the port anew. Whether the connection before it is over the
		 * kernel knows; user space may not have seen it yet. */
		if (living && has_socket(skb, &key, 0) == SOCKET_WHOLE)
			return TC_ACT_UNSPEC;
		bpf_map_delete_elem(&slots, &key);
		count(COUNT_SYN_ENDED);
	}
	if (role != ROLE_NONE)
		kind = public_kind(&s.destination);
	/* A route to this node: what was sent elsewhere by its SYN has come back. */
	if (!route && kind == PUBLIC_OWN && (flags & CONTROL_SPREAD))
		owner = spread_owner(&key, &s, flags);
	if (owner & OWNER_PARKED)
		return park(skb, &key, owner & ~OWNER_PARKED);
	/* What is left of a connection before it answers a SYN as well as a listener. */
	if (!route && kind == PUBLIC_OWN && owner == OWNER_SELF &&
	    (s.tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && has_socket(skb, &key, 0) == SOCKET_NONE)
		owner = heir_of(&key, &s);
	if (owner != OWNER_SELF && !(role == ROLE_ARRIVING && r && came_from(skb, r->anchor)))
		return divert(skb, owner);
	if (role == ROLE_NONE && ((flags & CONTROL_ENDED) || (s.tcp.flags & TCP_SYN)) && is_ended(&key, &s))
		return answer_reset(skb, &s);
	/* Rule stray: what reaches a foreign public address is for a socket here, or for nobody. What reaches a connection
	 * that arrives is for its socket: a listener would take it for a stranger's. A half-pipe takes copies only. */
	if (kind == PUBLIC_FOREIGN || role == ROLE_ARRIVING || role == ROLE_TARGET) {
		int socket = has_socket(skb, &key, s.offset);

		if (socket == SOCKET_NONE && role == ROLE_NONE && is_ended(&key, &s))
			return answer_reset(skb, &s);
		if (socket == SOCKET_NONE || role == ROLE_TARGET || (role == ROLE_ARRIVING && socket == SOCKET_LISTENS)) {
			count(COUNT_STRAY);
			return TC_ACT_SHOT;
		}
	}
	if (role == ROLE_ARRIVING && o)
		o->segments++;
	return TC_ACT_UNSPEC;
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
	int what;

	if (skb->mark == REPLAY_MARK)
		return replay(skb);
	if (skb->mark == ROUTER_MARK)
		return TC_ACT_UNSPEC;
	what = parse(skb, &s);
	if (what == NOT_TCP)
		return neighbour_filter(skb, 1);
	if (what == NOT_PLAIN) {
		kind = public_kind(&s.source);
		if (kind == PUBLIC_FOREIGN && hides_tcp(skb)) {
			count(COUNT_GUARD_STRAY);
			return TC_ACT_SHOT;
		}
		return neighbour_filter(skb, 1);
	}
	key = key_to_client(&s);
	role = find_flow(&key, &slot, &r, &o);
	/* As on the way in. */
	kind = role == ROLE_NONE ? public_kind(&s.source) : PUBLIC_OWN;
	if (kind == PUBLIC_NONE)
		return TC_ACT_UNSPEC;
	now = bpf_ktime_get_ns();
	if (role == ROLE_NONE && skb->mark != HALF_PIPE_MARK && (control_flags() & CONTROL_ENDED)) {
		__u32 *expected = bpf_map_lookup_elem(&ended, &key);

		if (expected)
			return become_reset(skb, &s, *expected);
	}
	/* Rule guard: a segment that was on its way to the kernel when its connection left finds no socket there. */
	if (role == ROLE_NONE && (s.tcp.flags & TCP_RST) && is_elsewhere(&key, now)) {
		count(COUNT_GUARD_RST);
		return TC_ACT_SHOT;
	}
	/* Rule guard: a half-pipe's socket ends no connection, whatever happens to it. */
	if (role == ROLE_TARGET || skb->mark == HALF_PIPE_MARK || (kind == PUBLIC_FOREIGN && role == ROLE_NONE)) {
		if (role != ROLE_TARGET && is_owner(skb, &s, &key)) {
			if (s.tcp.flags & TCP_RST)
				note_ended(&key, bpf_ntohl(s.tcp.seq));
			return TC_ACT_UNSPEC;
		}
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
	if (role == ROLE_ARRIVING && r && o && ((!o->segments && now > r->lease_ns) || (s.tcp.flags & (TCP_FIN | TCP_RST)))) {
		count(COUNT_LEASE_ENDED);
		return TC_ACT_SHOT;
	}
	if (role == ROLE_ANCHOR && r && o) {
		/* Rule ended: what targets owe nobody will have them send. */
		if (!alive(now) && targets_owe(r, o))
			return become_reset(skb, &s, o->ack);
		return egress_anchor(skb, &s, &key, r, o);
	}
	return TC_ACT_UNSPEC;
}

/* Rule deaf: the filter of a socket whose connection moves. It takes nothing. */
SEC("socket")
int baton_deaf(struct __sk_buff *skb)
{
	return park_at_socket(skb);
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
