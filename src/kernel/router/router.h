/* SPDX-License-Identifier: GPL-2.0 */
/* The router's values and maps. src/kernel/router/layout.ts states the same layouts for user space. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_RANGES 8
#define MAX_PEERS 64
#define MAX_ENGINES 64
#define DEFAULT_FLOWS 65536 /* replaced at load by limits.flows */
#define SPREAD_SIZE 16381 /* prime, as Maglev hashing wants it */
#define SPREAD_BYTES 16384
#define SPREAD_CONNECTIONS 262144 /* the oldest give way */
#define SPREAD_SYNS 65536 /* the oldest give way */
#define SYN_MEMORY_S 3 /* a SYN that is sent again goes where it went before */
#define SYN_COMPLETED 0x80000000 /* beside the second: the segment that completes the handshake has come, too */
#define MAX_FOLLOWED_BYTES 2048 /* of a request, in one segment */
#define HALF_PIPE_MARK 0x6261746f /* SO_MARK of half-pipes' sockets */
#define REPLAY_MARK 0x62617470 /* SO_MARK of the socket that parked segments are written back with */
#define MAX_FRAME_BYTES 2048 /* of a parked segment: one as on a wire */
#define MAX_LARGE_FRAME_BYTES 65552 /* and one that the kernel has put together (GRO), or not taken apart yet (GSO) */
#define ROUTER_MARK 0x62617472 /* of what the router itself sends, past egress: copies, diverted segments, resets of rule ended */
#define RESET_HOPS 64

#define AF_INET 2
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_CWR 0x80
#define TCP_BASE 20
#define TCP_OPTIONS 40
#define TCP_OPTIONS_MASK 63
#define TCP_HEADER (TCP_BASE + TCP_OPTIONS)
#define TCP_SEQ 4
#define TCP_CHECK 16
#define TCP_FLAGS 12 /* of the word with the header's length and the flags */
#define TCP_URGENT 18
#define EPOCH_BITS 0x0e /* the reserved bits of the byte with the header's length (RFC 9293 section 3.1) */
#define EPOCH_SHIFT 1
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_SACK 5
#define OPTION_TIMESTAMPS 8
#define MAX_SACK_BLOCKS 4
#define WATCHED_RESET 0xffffffff /* no epoch */
#define NOPS 0x01010101
#define NOPS_AND_TIMESTAMPS 0x0101080a /* two, and the timestamps option with its length (RFC 7323 appendix A) */
#define CHECKSUM_CHUNK 512 /* bytes; more than that bpf_csum_diff takes only since Linux 6.13 */
#define CHECKSUM_CHUNKS 128 /* the largest packet of IP */
#define STAMP_SLACK 65536 /* how far timestamps may be out of order */
#define STAMP_UNIT_SHIFT 20 /* ns: a unit of time that a shift gives, 1.05 ms */
#define STAMP_RATE_SHIFT 11 /* a client's clock makes no more of its ticks in that: one in 0.5 us (Linux: 1 ms or 1 us) */
#define STAMP_IDLE_UNITS (1 << 19) /* after 9 min its clock may be anywhere */
#define ARP_REQUEST 1
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136

enum { PUBLIC_NONE, PUBLIC_OWN, PUBLIC_FOREIGN };
enum { ROLE_NONE, ROLE_ANCHOR, ROLE_TARGET, ROLE_ARRIVING };
enum { COPY_HOPS = 1 }; /* hop limit of a copy for a target */
/* Other owners are indices into `peers`; or, of a connection that moves, OWNER_PARKED and the index of an engine. */
enum { OWNER_SELF = 0, OWNER_PARKED = 0x8000 };
enum { CONTROL_FRONT = 1, CONTROL_SPREAD = 2, CONTROL_ROUTES = 4, CONTROL_ENDED = 8, CONTROL_STOPS = 16 };
enum { FLAG_CLOSING = 1, FLAG_WATCH = 2, FLAG_WAKE = 4, FLAG_FOLLOW = 8 };

enum {
	COUNT_TRANSLATED_IN, COUNT_TRANSLATED_OUT, COUNT_FORWARDED, COUNT_FORWARD_FAILED, COUNT_TRIMMED,
	COUNT_AWAY_ACK, COUNT_QUIET, COUNT_NO_RANGE, COUNT_LEASE_ENDED, COUNT_STRAY, COUNT_GUARD_FIN, COUNT_GUARD_RST,
	COUNT_GUARD_STRAY, COUNT_ARP_FILTERED, COUNT_SACK_REMOVED, COUNT_SYN_ENDED, COUNT_EVENT_LOST,
	COUNT_DIVERTED, COUNT_SPREAD, COUNT_DIVERT_FAILED, COUNT_FOLLOWED, COUNT_PARKED, COUNT_PARK_FAILED,
	COUNT_UNACCEPTABLE, COUNT_ENDED, COUNT_INHERITED,
	COUNT_ERRORS_FORWARDED, COUNT_ERRORS_TRANSLATED, COUNT_ERRORS_REFUSED, COUNTERS,
};

/* 16 bytes; IPv4 is mapped (::ffff:0:0/96). */
struct address {
	__be32 word[4];
};

struct flow_key {
	struct address client, public;
	__be16 client_port, public_port;
};

/* A piece [start, end) of the client's sequence space and who sends it. `local` is the own socket's number for
 * `start`; `stamp` is added to the own clock's timestamps. `open`: the end is not known yet. `late`: all of it is
 * acknowledged, and its owner lets go by itself. */
struct range {
	__u32 start, end, local, stamp;
	__u8 owner, open, leased, late;
};

struct flow_rules {
	__u8 role, count, client_scale, flags;
	__u32 own_next;  /* the own socket's number after everything handed to it */
	__u32 in_local;  /* target: where the in-half stands for the own socket */
	__u32 in_wire;   /* target: what the anchor has read of the in-half */
	__u16 in_window; /* target: the anchor's window, as on the wire */
	__u16 engine;
	__u32 in_tsecr;  /* target: the client's newest timestamp that the anchor knows */
	__u32 congestion_window;
	__u32 watch, epoch;
	__u32 stamp;     /* anchor: added to timestamps of segments outside its ranges */
	__u64 lease_ns;  /* target: until when a leased range may begin (CLOCK_MONOTONIC) */
	__u8 in_scale;   /* anchor: shift of the window field in the own socket's segments */
	__u8 anchor;     /* target: whose copies it takes; arriving: whose segments are for its socket */
	__u8 unused[6];
	struct range range[MAX_RANGES];
};

struct flow {
	__u32 active, unused;
	struct flow_rules copy[2];
};

struct flow_observed {
	__u32 ack;       /* highest acknowledgement of the client */
	__u32 edge;      /* highest right edge of its window */
	__u32 sent_next; /* the own socket's number after the last byte seen leaving */
	__u32 watched;   /* epoch whose watch has fired; WATCHED_RESET: the client has reset the closing connection */
	__u32 segments;  /* segments of the client seen */
	__u32 tsval;     /* anchor: the client's newest timestamp */
	__u32 in_next;   /* anchor: the client's number after the last byte it sent */
	__u32 window;    /* what the own socket was last told that it may send, in bytes */
	__u32 in_ack;    /* what the anchor's socket has acknowledged to the client, as far as known here; 0: not */
	__u32 followed;  /* anchor: the client's number after the last byte that rule follow has sent on */
	__u32 max_window;    /* anchor: the largest window that the client has told, in bytes */
	__u32 in_max_window; /* anchor: the largest that the own socket has told the client, in bytes */
	__u32 tsval_units;   /* anchor: when `tsval` came, in units of 2^STAMP_UNIT_SHIFT ns */
	__u32 ended;         /* anchor: 1: the connection has been reset from here (rule ended) */
	__u32 said_fin;      /* anchor: the client's highest acknowledgement when a killed process's FIN went to its place */
	__u32 path_mtu;      /* anchor: the smallest that rule icmp-error has heard of; 0: none */
	__u32 held_ack;      /* the client's acknowledgement when it last named bytes that it has beyond it */
	__u32 held_end;      /* behind the last of those */
};

struct control {
	__u64 alive_until_ns; /* rules hold until then (CLOCK_MONOTONIC); a crashed node's rules end by themselves */
	__u64 netns_cookie;
	__be32 address4;      /* the node's own address, to ask ARP with */
	__u32 flags;
	__be16 port, tls_port; /* that clients connect to; 0: none */
	__u32 node_order;     /* for the next process: what nodes the owners in its maps are */
	__u64 away; /* bit n: node n (index + 1) cannot be reached */
};

/* A connection that lives on another node. */
struct route {
	__u16 owner;
	__u16 syn_second; /* when a SYN was last sent there, modulo 2^16 */
};

/* Where a connection was sent. `begins`: a SYN for the same endpoints has come since. */
struct spread {
	__u32 owner, begins;
};

/* Where a SYN was sent, and when; 0: it stayed here. `next`: the client's number after it. */
struct spread_syn {
	__u32 owner, second, next;
};

/* By the hash of a connection's endpoints: who gets it. 0: this node. */
struct spread_table {
	__u8 owner[SPREAD_BYTES];
};

struct peer {
	__u8 mac[6];
	__u16 unused;
} __attribute__((aligned(8)));

struct event {
	__u32 slot, epoch, ack, edge;
};

/* Bytes of a request as a target gets them (rule follow); told from an event by its length. */
struct followed {
	__u32 slot, epoch, seq;
	__u16 sent_ms; /* when the anchor sent them on, by its clock, modulo 2^16 */
	__u16 length;
	__u64 arrived_ns;
	__u8 bytes[MAX_FOLLOWED_BYTES];
};

/* A segment of a connection that moves, as it came (rule park). */
struct parked {
	struct flow_key key;
	__u32 length;   /* of the frame; the record may be longer */
	__u32 gso_size; /* 0: one segment */
	__u8 frame[];
};

struct arp_ipv4 {
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_mac[6], sender[4], target_mac[6], target[4];
};

struct tcp_header {
	__be16 source, dest;
	__be32 seq, ack;
	__u8 doff, flags;
	__be16 window, check, urgent;
	/* 40 bytes at most; the rest lets the verifier see that a 4-byte read at any masked index stays inside. */
	__u8 option[TCP_OPTIONS_MASK + 5];
};

/* A TCP header as it was: what has changed in it its checksum is told by the difference. */
struct old_header {
	__be32 word[TCP_HEADER / 4];
};

/* A segment's headers; `offset`: where TCP starts in the frame, `options` and `payload`: lengths in bytes, `hops`: how many
 * it may still go. */
struct segment {
	struct address source, destination;
	struct tcp_header tcp;
	__u32 offset, options, payload, hops;
};

enum { PARSED, NOT_TCP, NOT_PLAIN };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, struct flow_key);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, __u32);
	__type(value, struct flow_observed);
} observed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, __u32);
} publics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct route);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPREAD_CONNECTIONS);
	__type(key, struct flow_key);
	__type(value, struct spread);
} spread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPREAD_SYNS);
	__type(key, struct flow_key);
	__type(value, struct spread_syn);
} spread_syns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spread_table);
} spread_table SEC(".maps");

/* The same for when nobody listens here any more (rule heirs). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spread_table);
} heirs SEC(".maps");

/* Connections that are over here, and the number that their client was known to expect (rule ended). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, struct flow_key);
	__type(value, __u32);
} ended SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_PEERS);
	__type(key, __u32);
	__type(value, struct peer);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Where a record is put together before it goes into a ring. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct followed);
} scratch SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_ENGINES);
	__type(key, __u32);
	__array(values, struct ring);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_ENGINES);
	__type(key, __u32);
	__array(values, struct ring);
} parkings SEC(".maps");

static __always_inline int after(__u32 a, __u32 b) { return (__s32)(a - b) > 0; }
static __always_inline int after_eq(__u32 a, __u32 b) { return (__s32)(a - b) >= 0; }
static __always_inline int before(__u32 a, __u32 b) { return (__s32)(a - b) < 0; }
