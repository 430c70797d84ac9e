/** The layouts of src/kernel/router/router.h, as word offsets into the mapped arrays. A test compares the sizes with BTF. */

export const MAX_RANGES = 8;
export const MAX_PEERS = 64;
export const MAX_ENGINES = 64;
export const RING_BYTES = 65536;
/** Bytes of parked segments that an engine has room for: fifteen of the largest, or some five hundred as on a wire. */
export const PARKING_BYTES = 1024 * 1024;

export const OWNER_SELF = 0;
/** Added to the index of an engine: the owner, in the routes, of a connection that moves. */
export const OWNER_PARKED = 0x8000;
export const ROLE_NONE = 0;
export const ROLE_ANCHOR = 1;
export const ROLE_TARGET = 2;
/** A connection that has migrated here and is not confirmed yet. */
export const ROLE_ARRIVING = 3;

export const FLAG_CLOSING = 1;
export const FLAG_WATCH = 2;
export const FLAG_WAKE = 4;
export const FLAG_FOLLOW = 8;

export const PUBLIC_OWN = 1;
export const PUBLIC_FOREIGN = 2;

/** struct flow_key: client 16, public 16, client port 2, public port 2. */
export const KEY_BYTES = 36;

/** struct range, in words. */
export const RANGE_WORDS = 5;
/** struct flow_rules, in words; the ranges start at RULES_RANGES. */
export const RULES_WORDS = 54;
export const RULES_RANGES = 14;
/** struct flow: active, unused, two copies of the rules. */
export const FLOW_WORDS = 2 + 2 * RULES_WORDS;
/** struct flow_observed; even, as the values of an array are. */
export const OBSERVED_WORDS = 18;
export const OBSERVED_ACK = 0;
export const OBSERVED_EDGE = 1;
export const OBSERVED_SENT_NEXT = 2;
export const OBSERVED_WATCHED = 3;
/** Instead of an epoch: the client has reset the closing connection. */
export const WATCHED_RESET = 0xffff_ffff;
export const OBSERVED_SEGMENTS = 4;
export const OBSERVED_TSVAL = 5;
export const OBSERVED_IN_NEXT = 6;
export const OBSERVED_WINDOW = 7;
export const OBSERVED_IN_ACK = 8;
export const OBSERVED_FOLLOWED = 9;
export const OBSERVED_MAX_WINDOW = 10;
export const OBSERVED_IN_MAX_WINDOW = 11;
export const OBSERVED_TSVAL_UNITS = 12;
export const OBSERVED_ENDED = 13;
export const OBSERVED_SAID_FIN = 14;
export const OBSERVED_PATH_MTU = 15;
export const OBSERVED_HELD_ACK = 16;
export const OBSERVED_HELD_END = 17;
/** struct event, and struct followed up to its bytes. */
export const EVENT_BYTES = 16;
export const FOLLOWED_HEADER_BYTES = 24;
export const MAX_FOLLOWED_BYTES = 2048;
/** struct parked up to its frame. */
export const PARKED_HEADER_BYTES = 44;
export const MAX_FRAME_BYTES = 2048;
export const MAX_LARGE_FRAME_BYTES = 65_552;
/** struct control. */
export const CONTROL_BYTES = 40;
/** Where `flags` is in it, in words. */
export const CONTROL_FLAGS = 5;
/** And `port` and `tls_port`, in bytes. */
export const CONTROL_PORT = 24;
export const CONTROL_TLS_PORT = 26;
/** And `node_order`. */
export const CONTROL_NODE_ORDER = 28;
/** And `away`, in words of 8 bytes. */
export const CONTROL_AWAY = 4;
export const CONTROL_FRONT = 1;
export const CONTROL_SPREAD = 2;
export const CONTROL_ROUTES = 4;
export const CONTROL_ENDED = 8;
export const CONTROL_STOPS = 16;
/** Owners in struct spread_table: prime, as Maglev hashing wants it. */
export const SPREAD_SIZE = 16381;
export const SPREAD_BYTES = 16384;
/** SO_MARK of half-pipes' sockets: without a flow in the router they are silent ("bato"). */
export const HALF_PIPE_MARK = 0x6261746f;
/** SO_MARK of the socket that parked segments are written back with (rule replay). */
export const REPLAY_MARK = 0x62617470;

/** The per-CPU counters, in the order of router.h. */
export const COUNTERS = [
  'translated_in',
  'translated_out',
  'forwarded',
  'forward_failed',
  'trimmed',
  'away_ack',
  'quiet',
  'no_range',
  'lease_ended',
  'stray',
  'guard_fin',
  'guard_rst',
  'guard_stray',
  'arp_filtered',
  'sack_removed',
  'syn_ended',
  'event_lost',
  'diverted',
  'spread',
  'divert_failed',
  'followed',
  'parked',
  'park_failed',
  'unacceptable',
  'ended',
  'inherited',
  'errors_forwarded',
  'errors_translated',
  'errors_refused',
] as const;
export type RouterCounter = (typeof COUNTERS)[number];
