/* SPDX-License-Identifier: GPL-2.0 */
/* New connections to a node whose process has ended (rule heirs). */
#ifndef BATON_HEIRS_H
#define BATON_HEIRS_H

#include "elsewhere.h"

/* Rule heirs: nobody listens for this SYN any more, so another server gets it, by the table that the process prepared while
 * it was alive. Where it went is remembered as for any that the router spreads. At other ports nobody ever listened. */
static __noinline __u32 heir_of(const struct flow_key *key, const struct segment *s)
{
	struct spread_syn entry = {};
	struct spread_table *table;
	struct control *c;
	__u32 zero = 0, at;

	if (!key || !s)
		return OWNER_SELF;
	table = bpf_map_lookup_elem(&heirs, &zero);
	c = bpf_map_lookup_elem(&control, &zero);
	if (!table || !c || (key->public_port != c->port && key->public_port != c->tls_port))
		return OWNER_SELF;
	at = hash_of(key) % SPREAD_SIZE;
	/* As in table_owner. */
	asm volatile("" : "+r"(at));
	entry.owner = table->owner[at & (SPREAD_BYTES - 1)];
	if (entry.owner == OWNER_SELF)
		return OWNER_SELF;
	entry.second = bpf_ktime_get_ns() / 1000000000;
	entry.next = bpf_ntohl(s->tcp.seq) + 1;
	bpf_map_update_elem(&spread_syns, key, &entry, BPF_ANY);
	__sync_fetch_and_or(&c->flags, CONTROL_SPREAD);
	count(COUNT_INHERITED);
	return entry.owner;
}

#endif
