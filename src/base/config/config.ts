/** The configuration of a cluster as the program uses it: complete, checked, read-only, and structured-cloneable. */

/** Policies without settings. */
export const POLICIES = ['round-robin', 'hash', 'local', 'least-load', 'cached'] as const;
export type PolicyName = (typeof POLICIES)[number];

export const MECHANISMS = ['local', 'relay', 'anchor', 'clone', 'split', 'migrate', 'drain'] as const;
export type MechanismName = (typeof MECHANISMS)[number];

/** What may be asked for: one of them, or, request by request, the one that is estimated to cost least. */
export const MECHANISM_SETTINGS = ['auto', ...MECHANISMS] as const;
export type MechanismSetting = (typeof MECHANISM_SETTINGS)[number];

/** Every row of the mechanism table: those that a site can name, and what a booster does with every request. */
export const MECHANISM_ROWS = [...MECHANISMS, 'boost'] as const;
export type MechanismRow = (typeof MECHANISM_ROWS)[number];

/** What a line of the access log may have beside what it always has. */
export const ACCESS_FIELDS = [
  'userAgent',
  'referer',
  'protocol',
  'site',
  'requestId',
  'cache',
  'tls',
  'tlsCipher',
  'tlsResumed',
] as const;
export type AccessField = (typeof ACCESS_FIELDS)[number];

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A textual IP address and a port. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/**
 * `server`: takes clients and serves. `front`: only spreads the connections to its public addresses over servers.
 * `booster`: takes clients of servers that have too many; the servers answer.
 */
export const ROLES = ['server', 'front', 'booster'] as const;
export type Role = (typeof ROLES)[number];

export interface NodeConfig {
  readonly name: string;
  readonly role: Role;
  /** The node's own address: the backplane listens on it. Canonical text form, as all addresses here. */
  readonly address: string;
  /** The node's own IPv6 address, when it has one beside `address`. */
  readonly address6: string | null;
  /** The interface that clients and the other nodes are reached through. */
  readonly interface: string;
  /** Addresses clients connect to and this node owns. May be empty: a node that only serves for others. */
  readonly public: readonly string[];
  /** TCP port of the backplane at `address`. */
  readonly backplane: number;
  readonly admin: HostPort;
  /** Engine threads; 1 to 64. */
  readonly engines: number;
  /** When new clients of its public addresses go to boosters. */
  readonly boost: BoostConfig;
}

/** When a server's new clients go to boosters, and to which. */
export interface BoostConfig {
  /** Names; none: never. */
  readonly boosters: readonly string[];
  /** At this load or more the server's new clients go to boosters. */
  readonly onPermille: number;
  /** Below this load new clients are the server's own again. */
  readonly offPermille: number;
  /** How many of the new clients go to boosters. */
  readonly sharePermille: number;
  /** Clients that boosters have come back when they are no longer needed. */
  readonly return: boolean;
  /** A time to first byte that counts as a load of 1000 permille; null: it does not count. */
  readonly firstByteMs: number | null;
}

/** Where a node takes a site's responses from: files, or an HTTP server it can reach. `root` is absolute. */
export type ContentSource =
  | { readonly kind: 'root'; readonly root: string }
  | { readonly kind: 'upstream'; readonly upstream: HostPort };

/** A class of requests: all conditions that are not null hold. */
export interface ClassRule {
  /** Glob over the path as sent. */
  readonly path: string | null;
  /** Regular expression over the path as sent; not with `path`. */
  readonly regex: string | null;
  /** Bounds of the file's size, both included; never met where the size is not known (see PolicyContext). */
  readonly minBytes: number | null;
  readonly maxBytes: number | null;
  /** At least this share of an engine's recent requests was for the path. */
  readonly popularPermille: number | null;
  /** Names of the nodes that answer. */
  readonly nodes: readonly string[];
  /** Null: the site's. */
  readonly mechanism: MechanismSetting | null;
}

export type PolicyConfig =
  | PolicyName
  | { readonly kind: 'class'; readonly rules: readonly ClassRule[]; readonly fallback: PolicyName }
  | DelegateConfig
  /** `file` is absolute; `options` is plain data, undefined when none are given. */
  | { readonly kind: 'module'; readonly file: string; readonly options: unknown };

/** How much a node gives away of its own clients' requests. */
export interface DelegateConfig {
  readonly kind: 'delegate';
  readonly percent: number;
  /** Requests of its own clients that a node answers itself in a second; null: no limit. */
  readonly requestsPerSecond: number | null;
  readonly cpuPermille: number | null;
}

/** Files in PEM: a certificate with its chain, and its key. Absolute. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** As OpenSSL and node:tls name them. */
export const TLS_VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
export type TlsVersion = (typeof TLS_VERSIONS)[number];

/** How a site is served over TLS. */
export interface TlsConfig {
  /** What a client must speak at least. */
  readonly minVersion: TlsVersion;
  /** One certificate for each kind of key (RSA, ECDSA). */
  readonly certificates: readonly CertificateFiles[];
  /** Requests without TLS are sent to the same place with it. */
  readonly redirect: boolean;
  /** For how long browsers are to come back by TLS alone (RFC 6797); null: they are not told. */
  readonly hstsSeconds: number | null;
}

export interface SiteConfig {
  readonly name: string;
  /** Lower case: exact names, `*.example.org`, or `*`. */
  readonly hosts: readonly string[];
  /** By node name; nodes without an entry only take requests and hand them off. */
  readonly content: Readonly<Record<string, ContentSource>>;
  readonly policy: PolicyConfig;
  readonly mechanism: MechanismSetting;
  readonly clone: CloneConfig;
  /** Nodes tell each other which documents they have; requests go only to nodes that may have theirs. */
  readonly catalogue: boolean;
  /** Null: it is served without TLS only. */
  readonly tls: TlsConfig | null;
  /** The cache of upstreams' responses; null: the site has none. */
  readonly cache: CacheConfig | null;
  /** Largest request body accepted. */
  readonly bodyBytes: number;
  /** Media types by the ending of a file's name, before those that are known anyway. */
  readonly types: Readonly<Record<string, string>>;
}

/** Whether, and how, responses of a site's upstreams are stored. */
export interface CacheConfig {
  /** Memory of the cache of each engine. */
  readonly bytes: number;
  /** Larger bodies are not stored. */
  readonly objectBytes: number;
  /** `Cache-Status` in every response. */
  readonly status: boolean;
}

/** Options of mechanism clone. */
export interface CloneConfig {
  /** Pipelined requests: a clone is set up as soon as the response before it has a known end. */
  readonly pre: boolean;
  /** The clone answers the connection's next request without being asked, when the policy gives it to the same node. */
  readonly keep: boolean;
}

/** What a booster's client may ask for, and all of a network together; null: no limit. */
export interface ClientLimitsConfig {
  readonly perAddress: RateLimits;
  readonly perNetwork: RateLimits;
}

interface RateLimits {
  readonly connectionsPerSecond: number | null;
  readonly requestsPerSecond: number | null;
  /** Requests in progress. */
  readonly inFlight: number | null;
}

export interface LimitsConfig {
  /** Client connections of an engine. */
  readonly connections: number;
  /** TLS handshakes in progress, of an engine: a further one ends the oldest. */
  readonly handshakes: number;
  readonly headBytes: number;
  readonly headFields: number;
  /** Largest request body accepted, where a site does not say otherwise. */
  readonly bodyBytes: number;
  /** Half-pipes of one flow that are not yet fully acknowledged. */
  readonly halfPipes: number;
  /** Flows that have half-pipes elsewhere, for each node. */
  readonly flows: number;
  /** Small files kept in memory, for each engine. */
  readonly cacheBytes: number;
  readonly openFiles: number;
  /** Files larger than this are not read to vouch for their bytes: they have no strong validator. */
  readonly digestBytes: number;
  /** A connection without a request in progress is closed after this. */
  readonly idleSeconds: number;
  /** How long a client may take from a request's first byte to the end of its head. */
  readonly headSeconds: number;
  /** A client that takes no byte of a response, or sends none of its body, for this long is closed. */
  readonly stallSeconds: number;
}

export interface EngineConfig {
  /** How long an engine that has nothing to do looks for events before it sleeps. */
  readonly spinUs: number;
}

export interface TimeoutsConfig {
  /** How long the anchor waits for a target before it serves the request otherwise. */
  readonly setupMs: number;
  /** A peer that is silent for this long counts as gone. */
  readonly peerMs: number;
  readonly upstreamConnectMs: number;
  /** An upstream that has a request and does not begin to answer for this long has failed. */
  readonly upstreamSeconds: number;
  /** An upstream that pauses for this long in the middle of a response has failed. */
  readonly upstreamPauseSeconds: number;
  /** After SIGTERM, how long connections may take to move or end. */
  readonly stopSeconds: number;
}

/** What upstreams are told of the client. */
export interface ForwardConfig {
  /** Networks of proxies: what they say of their clients is believed. */
  readonly trusted: readonly string[];
  /** X-Forwarded-For, -Proto and -Host. */
  readonly xForwarded: boolean;
  /** Forwarded (RFC 7239). */
  readonly forwarded: boolean;
  readonly xRealIp: boolean;
}

export interface RedirectConfig {
  readonly enabled: boolean;
  /** Above it a node redirects new connections. */
  readonly highPermille: number;
  /** Below it they come back; a peer below it gets them. */
  readonly lowPermille: number;
}

export interface ObserveConfig {
  /** `X-Served-By` in every response. */
  readonly servedBy: boolean;
  /** `Server-Timing` in every response, in none, or in those to clients of these networks. */
  readonly serverTiming: boolean | readonly string[];
  /** `-` is standard output, null is off, anything else an absolute path. */
  readonly accessLog: string | null;
  readonly accessFields: readonly AccessField[];
  readonly logLevel: LogLevel;
}

/** Ports that clients connect to, at every public address. */
export interface ListenConfig {
  readonly port: number;
  /** Null: no site is served over TLS. */
  readonly tlsPort: number | null;
  /** No node is lent a key by which another has sealed: there is a KeyUpdate first. */
  readonly tlsRekey: boolean;
}

/** What a running node takes over when the file changes. */
export type Changeable = Pick<ClusterConfig, 'sites' | 'clientLimits'>;

export interface ClusterConfig {
  /** The file it came from. */
  readonly file: string;
  /** The cluster key as written, or the content of the file it names; at least 16 characters. */
  readonly key: string;
  readonly nodes: readonly NodeConfig[];
  readonly sites: readonly SiteConfig[];
  readonly listen: ListenConfig;
  readonly limits: LimitsConfig;
  readonly timeouts: TimeoutsConfig;
  readonly engine: EngineConfig;
  readonly redirect: RedirectConfig;
  readonly forward: ForwardConfig;
  /** What boosters allow a client and a network. */
  readonly clientLimits: ClientLimitsConfig;
  readonly observe: ObserveConfig;
}
