/* SPDX-License-Identifier: GPL-2.0 */
/* What the maps say: of an address, of a flow, of this node. And the counters. */
#ifndef BATON_MAPS_H
#define BATON_MAPS_H

#include "../router.h"

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

static __always_inline __u32 control_flags(void)
{
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&control, &zero);

	return c ? c->flags : 0;
}

static __always_inline __u32 public_kind(const struct address *address)
{
	__u32 *kind = bpf_map_lookup_elem(&publics, address);

	return kind ? *kind : PUBLIC_NONE;
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

/* The range of whoever sends now, or sent last; there must be one. The mask is for the verifier. */
static __always_inline const struct range *last_range(const struct flow_rules *r)
{
	return &r->range[(r->count - 1) & (MAX_RANGES - 1)];
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

#endif
