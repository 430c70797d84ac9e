/**
 * Counters that engines count into and the main thread reads: one SharedArrayBuffer an engine, one double a counter
 * (exact up to 2^53), a single writer each.
 */

/** Name and help text; the order is the layout. Gauges end in `_now`. */
export const ENGINE_COUNTERS = [
  ['connections_accepted', 'Client connections accepted'],
  ['connections_refused', 'Client connections closed at once because of limits.connections'],
  ['connections_now', 'Client connections open'],
  ['connections_aborted', 'Client connections ended by reset because they could not be continued'],
  ['tls_handshakes', 'TLS handshakes done'],
  ['tls_resumed', 'TLS handshakes done by a ticket'],
  ['tls_handshakes_now', 'TLS handshakes in progress'],
  ['tls_evicted', 'TLS handshakes ended, the oldest first, because of limits.handshakes'],
  ['tls_timeouts', 'TLS handshakes that were not done in time'],
  ['tls_left', 'TLS handshakes whose client left'],
  ['tls_plain', 'Connections to the TLS port that spoke HTTP without TLS'],
  ['tls_garbage', 'Connections to the TLS port that spoke neither TLS nor HTTP'],
  ['tls_unknown_name', 'TLS handshakes refused because no site has the name'],
  ['tls_nothing_common', 'TLS handshakes refused: no version, cipher, key or protocol in common'],
  ['tls_client_alerts', 'TLS handshakes that the client ended by an alert'],
  ['tls_broken', 'TLS handshakes refused because of what the client sent'],
  ['tls_key_updates', 'TLS keys changed by KeyUpdate, of what clients get'],
  ['tls_records_refused', 'Connections ended because of a TLS record that cannot be'],
  ['requests', 'Requests answered'],
  ['requests_local', 'Requests answered by the anchor itself'],
  ['requests_relay', 'Requests answered through relay'],
  ['requests_anchor', 'Requests answered straight from a target'],
  ['requests_migrate', 'Requests answered on a connection that has come from another node'],
  ['requests_clone', 'Requests answered by a clone'],
  ['requests_kept', 'Requests answered by a clone that was there, without having been asked'],
  ['requests_split', 'Requests answered by a data server, on a connection of one request'],
  ['requests_boost', 'Requests of clients that this booster has, answered by their origin'],
  ['responses_2xx', 'Responses with status 2xx'],
  ['responses_3xx', 'Responses with status 3xx'],
  ['responses_4xx', 'Responses with status 4xx'],
  ['responses_5xx', 'Responses with status 5xx'],
  ['response_bytes', 'Response bytes of requests this node was the anchor of'],
  ['served_bytes', 'Response bytes this node sent itself'],
  ['setups_sent', 'SETUP frames sent'],
  ['setups_received', 'SETUP frames received'],
  ['setups_rejected', 'SETUP frames refused by this node'],
  ['handoffs_rejected', 'Handoffs that the target refused'],
  ['handoffs_timed_out', 'Handoffs whose target did not answer in time'],
  [
    'handoffs_waited',
    'Times that a target got more time to answer, as it lives, or nobody else could, or may',
  ],
  ['handoffs_lost', 'Handoffs whose target or link died'],
  ['handoffs_taken_over', 'Handoffs served anew after the target failed'],
  ['handoffs_continued', 'Responses that another node went on with after the target failed or stopped'],
  ['handoffs_no_room', 'Requests served without the wanted handoff because a table was full'],
  ['flow_messages', 'Backplane frames about handed-off requests, sent and received by their anchor'],
  ['flow_message_bytes', 'Bytes of those frames'],
  ['catalogue_documents_now', 'Documents known of this node and the others'],
  ['cached_documents_now', 'Documents known to be in memory, of this engine and of the other nodes'],
  ['requests_cached', 'Requests that policy cached gave to a node with the document in memory'],
  [
    'requests_not_cached',
    'Requests that policy cached gave to a node not known to have the document in memory',
  ],
  ['flows_now', 'Flows in the router'],
  ['half_pipes_now', 'Half-pipes held for other nodes'],
  ['half_pipes_opened', 'Half-pipe sockets made'],
  ['half_pipes_reused', 'Requests sent on a half-pipe that was there already'],
  ['half_pipes_failed', 'Half-pipes that failed'],
  ['migrations_sent', 'Connections sent to another node'],
  ['migrations_out', 'Connections that another node has taken'],
  ['migrations_in', 'Connections taken from another node'],
  ['migrations_refused', 'Connections that this node has refused to take'],
  ['migrations_rejected', 'Connections that another node has refused to take'],
  ['migrations_resumed', 'Connections that went on here after they could not be moved'],
  ['segments_replayed', 'Segments that came while their connection moved, and were taken up again'],
  [
    'segments_lost',
    'Segments that came while their connection moved, and could not be kept or taken up again',
  ],
  ['guests_now', 'Connections that have come from another node'],
  ['diverted_now', 'Connections of own public addresses that another node has'],
  [
    'routes_refused',
    'Routes for addresses that are not ours, for connections that are here, or without room',
  ],
  ['routes_lost', 'Routes given up because their owner was gone'],
  ['links_up_now', 'Backplane links up'],
  ['views_differ_now', 'Other nodes whose configuration differs from this one’s'],
  ['links_failed', 'Backplane links closed because of an error'],
  ['links_refused', 'Backplane connections from other nodes that were refused'],
  ['links_wrong_key', 'Handshakes with a node that has another cluster key'],
  ['strangers_refused', "Backplane connections refused because their address is no other node's"],
  ['frames_refused', 'Backplane frames that no node sends: their link was closed'],
  ['frames_sent', 'Backplane frames sent'],
  ['frames_received', 'Backplane frames received'],
  ['backplane_bytes_sent', 'Backplane bytes sent'],
  ['backplane_bytes_received', 'Backplane bytes received'],
  ['request_heads_refused', 'Request heads refused'],
  ['timeouts_head', 'Connections closed because a request head did not arrive in time'],
  ['timeouts_idle', 'Idle connections closed'],
  ['cpu_permille_now', 'Processor time of the engine, of one processor, in permille'],
  ['requests_per_second_now', 'Requests answered in the last half second, by the second'],
  ['accept_queue_now', 'Client connections that wait to be accepted'],
  ['redirected_permille_now', 'Share of new connections that a loaded node sends to others, in permille'],
  ['spread_changes', 'Times the table that spreads new connections was changed'],
  [
    'quick_cpu_permille_now',
    'The same as baton_cpu_permille, of the last 50 ms, where boosters are configured',
  ],
  [
    'first_byte_ms_now',
    'Milliseconds for which half of the newest requests have waited for their first byte, where boosters are configured',
  ],
  [
    'connections_limited',
    'Clients of this booster turned away because they, or their network, connected too often',
  ],
  ['requests_limited', 'Requests answered with 429 because their client, or its network, asked for too much'],
  ['boost_on_now', 'Whether new clients of this node go to boosters (1) or not (0)'],
  ['boost_switches', 'Times that this began or ended'],
  ['boosted_requests', 'Requests answered for clients that a booster has'],
  ['policy_failures', 'Requests served by policy local because a policy module failed'],
  ['upstream_requests', 'Requests sent to an upstream'],
  ['upstream_failures', 'Requests that an upstream failed'],
  ['upstream_repeats', 'Requests sent again, as the upstream had closed the kept connection'],
  ['upstream_elsewhere', 'Requests given to another node because an upstream failed'],
  ['cache_hits', 'Requests answered with a fresh stored response'],
  ['cache_stale', 'Requests answered with a stale stored response'],
  ['cache_revalidated', 'Requests answered with a stored response that the upstream has just vouched for'],
  ['cache_collapsed', "Requests answered with the response to another client's request"],
  ['cache_misses', 'Requests sent to an upstream because no stored response could be used'],
  ['cache_passes', 'Requests to sites with a cache that it has no part in'],
  ['cache_evictions', 'Resources dropped from the cache because it was full'],
  ['cache_bytes_now', 'Bytes of stored responses'],
  ['cache_resources_now', 'Resources with a stored response'],
  ['upstreams_failing_now', 'Upstreams of this node whose newest request failed'],
  ['nodes_passed_over_now', 'Nodes, site by site, whose upstream failed and has not answered since'],
] as const;

export type EngineCounter = (typeof ENGINE_COUNTERS)[number][0];

const INDEX = new Map<string, number>(ENGINE_COUNTERS.map(([name], i) => [name, i]));

/** Whatever counts. */
export interface Count {
  add(name: EngineCounter, by?: number): void;
}

/** The counters of one engine. */
export class Counters implements Count {
  readonly buffer: SharedArrayBuffer;
  readonly #values: Float64Array;

  constructor(buffer = new SharedArrayBuffer(ENGINE_COUNTERS.length * 8)) {
    this.buffer = buffer;
    this.#values = new Float64Array(buffer);
  }

  /** The place of a counter, looked up once by hot code. */
  static index(name: EngineCounter): number {
    return INDEX.get(name)!;
  }

  add(name: EngineCounter, by = 1): void {
    this.#values[INDEX.get(name)!] += by;
  }

  set(name: EngineCounter, value: number): void {
    this.#values[INDEX.get(name)!] = value;
  }

  get(name: EngineCounter): number {
    return this.#values[INDEX.get(name)!];
  }
}
