/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel has for a connection: a socket, a listener, TIME-WAIT, nothing. */
#ifndef BATON_SOCKET_H
#define BATON_SOCKET_H

#include "segment.h"

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
enum { LISTENER_ONLY = 1 }; /* no offset */

/* Whether the kernel has a socket for these endpoints, or a listener for the local ones. `offset`: of TCP in a segment
 * of the client, which must be one for a listener then; 0 when it is not about one; LISTENER_ONLY: nor about a connection. */
static __noinline int has_socket(struct __sk_buff *skb, const struct flow_key *key, __u32 offset)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *socket;
	__be16 port;
	int what;

	if (!key)
		return SOCKET_NONE;
	/* No connection has port 0. */
	port = offset == LISTENER_ONLY ? 0 : key->client_port;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		tuple.ipv4.saddr = key->client.word[3];
		tuple.ipv4.daddr = key->public.word[3];
		tuple.ipv4.sport = port;
		tuple.ipv4.dport = key->public_port;
		socket = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &key->client, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &key->public, 16);
		tuple.ipv6.sport = port;
		tuple.ipv6.dport = key->public_port;
		socket = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return SOCKET_NONE;
	if (socket->state == BPF_TCP_LISTEN)
		what = SOCKET_LISTENS;
	else
		what = socket->state == BPF_TCP_TIME_WAIT ? SOCKET_TIME_WAIT : SOCKET_WHOLE;
	if (offset > LISTENER_ONLY && what == SOCKET_LISTENS && !may_begin(skb, socket, offset))
		what = SOCKET_NONE;
	bpf_sk_release(socket);
	return what;
}

/* Whether the kernel has the connection itself, or its TIME-WAIT. */
static __always_inline int has_connection(struct __sk_buff *skb, const struct flow_key *key)
{
	int socket = has_socket(skb, key, 0);

	return socket == SOCKET_WHOLE || socket == SOCKET_TIME_WAIT;
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

#endif
