/** The shape of the configuration file, with every default and range. What spans several entries is in checks.ts. */
import { isIP, isIPv6 } from 'node:net';
import { z } from 'zod';
import { formatAddress, parseAddress } from '../address.ts';
import { parseNetwork } from '../networks.ts';
import { boostSchema, nodeBoost, PERMILLE_OF_LOAD } from './boost-schema.ts';
import {
  ACCESS_FIELDS,
  type HostPort,
  LOG_LEVELS,
  MECHANISM_SETTINGS,
  ROLES,
  TLS_VERSIONS,
} from './config.ts';
import { policySchema } from './policy-schema.ts';
import { choice, flag, integer, must, text } from './values.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

export const MIN_KEY_CHARACTERS = 16;
/** The router numbers a flow's owners in 6 bits, 0 for the node itself. */
export const MAX_NODES = 63;
export const MAX_ENGINES = 64;
/** What a frame between nodes carries of a request's head. */
const MAX_HEAD_BYTES = 32 * 1024;
/** What one carries of a site's name. */
const MAX_SITE_NAME_BYTES = 63;
const MAX_PUBLIC_ADDRESSES = 16;
const MAX_SITES = 256;
const MAX_HOSTS = 256;
const IFNAMSIZ = 16;
const MAX_BODY_BYTES = TIB;
const ENDING = /^[a-z0-9][a-z0-9_+-]{0,31}$/;
/** RFC 9110 8.3.1, in the plain forms that files need. */
const MEDIA_TYPE =
  /^[a-z0-9!#$&^_.+-]{1,64}\/[a-z0-9!#$&^_.+-]{1,64}(; ?[a-z0-9_-]{1,32}=[a-z0-9_.+-]{1,64}){0,4}$/i;
const MEDIA_TYPE_RULE = 'a media type, for example application/x-subrip or "text/plain; charset=utf-8"';

const port = (fallback: number) => integer(1, 65535, 'a TCP port').default(fallback);

/** True for an address a host can have: not unspecified, not multicast, not broadcast, without a zone. */
function isHostAddress(value: string): boolean {
  if (isIP(value) === 0 || value.includes('%')) return false;
  const bytes = parseAddress(value);
  const canonical = formatAddress(bytes);
  if (canonical === '0.0.0.0' || canonical === '::' || canonical === '255.255.255.255') return false;
  return isIP(canonical) === 4 ? bytes[12] < 224 : bytes[0] !== 0xff;
}

const address = (what: string) =>
  z
    .string(must(what))
    .refine(isHostAddress, { error: `must be ${what}` })
    .transform((value) => (isHostAddress(value) ? formatAddress(parseAddress(value)) : value));

/** `ADDRESS:PORT`, with brackets around IPv6 (RFC 3986 section 3.2.2); undefined when it is not that. */
export function parseHostPort(value: string): HostPort | undefined {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(value);
  if (parts === null) return undefined;
  const host = parts[1] ?? (parts[2] === 'localhost' ? '127.0.0.1' : parts[2]);
  const number = Number(parts[3]);
  if (isIP(host) === 0 || isIPv6(host) !== (parts[1] !== undefined) || host.includes('%')) return undefined;
  if (number < 1 || number > 65535) return undefined;
  return { host: formatAddress(parseAddress(host)), port: number };
}

const HOST_PORT = 'ADDRESS:PORT, for example 127.0.0.1:8080 or "[::1]:8080"';
const hostPort = () =>
  z.string(must(HOST_PORT)).transform((value, context): HostPort => {
    const parsed = parseHostPort(value);
    if (parsed !== undefined) return parsed;
    context.issues.push({ code: 'custom', message: `must be ${HOST_PORT}`, input: value });
    return z.NEVER;
  });

const NODE_NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
const NODE_NAME_RULE = 'a node name: 1 to 32 of a-z, 0-9 and -, not - at either end';
const HOST_PATTERN = /^(\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\])$/;

export const nodeSchema = z.strictObject({
  role: choice(ROLES).default('server'),
  address: address('an IPv4 or IPv6 address of this node'),
  address6: address('an IPv6 address of this node')
    .refine(isIPv6, { error: 'must be an IPv6 address' })
    .optional(),
  interface: z
    .string(must('the name of a network interface'))
    .refine((name) => name.length > 0 && name.length < IFNAMSIZ && !/[\s/:]/.test(name), {
      error: `must be the name of a network interface: 1 to ${IFNAMSIZ - 1} characters without space, / or :`,
    })
    .default('eth0'),
  public: z
    .array(address('an IPv4 or IPv6 address'), must('a list of addresses'))
    .max(MAX_PUBLIC_ADDRESSES, { error: `must have at most ${MAX_PUBLIC_ADDRESSES} addresses` })
    .default([]),
  backplane: port(7946),
  admin: hostPort().default({ host: '127.0.0.1', port: 9900 }),
  engines: integer(1, MAX_ENGINES).default(1),
  boost: nodeBoost.optional(),
});

const perNode = <T extends z.ZodType>(value: T) =>
  z.record(z.string(), value, must('a map from node name to value'));

/** RFC 6797 sets no bound; lists of browsers ask for one year, or two. */
const MAX_HSTS_SECONDS = 10 * 365 * 86_400;
const MAX_CERTIFICATES = 4;
const PEM_FILE = 'a file (PEM)';
const tls = z.strictObject(
  {
    cert: text(PEM_FILE).optional(),
    key: text(PEM_FILE).optional(),
    certificates: z
      .array(
        z.strictObject({ cert: text(PEM_FILE), key: text(PEM_FILE) }, must('a map with cert and key')),
        must('a list of maps with cert and key'),
      )
      .min(1, { error: 'must have at least one certificate' })
      .max(MAX_CERTIFICATES, { error: `must have at most ${MAX_CERTIFICATES} certificates` })
      .optional(),
    minVersion: choice(TLS_VERSIONS).default('TLSv1.2'),
    redirect: flag().default(false),
    hsts: integer(0, MAX_HSTS_SECONDS, 'seconds').optional(),
  },
  must('a map with cert and key'),
);

export const siteSchema = z.strictObject({
  name: text('a name').refine((name) => Buffer.byteLength(name) <= MAX_SITE_NAME_BYTES, {
    error: `must be at most ${MAX_SITE_NAME_BYTES} bytes`,
  }),
  hosts: z
    .array(
      z
        .string(must('a host name'))
        .transform((host) => host.toLowerCase())
        .refine((host) => HOST_PATTERN.test(host), { error: 'must be a host name, *.DOMAIN or * (no port)' }),
      must('a list of host names'),
    )
    .min(1, { error: 'must name at least one host' })
    .max(MAX_HOSTS, { error: `must have at most ${MAX_HOSTS} host names` })
    .default(['*']),
  root: text('a directory').optional(),
  upstream: hostPort().optional(),
  roots: perNode(text('a directory')).default({}),
  upstreams: perNode(hostPort()).default({}),
  /** The nodes that answer requests for it; all when absent. Any node still takes them from clients. */
  serve: z
    .array(text('a node name'), must('a list of node names'))
    .min(1, { error: 'must name at least one node' })
    .optional(),
  policy: policySchema.prefault('round-robin'),
  mechanism: choice(MECHANISM_SETTINGS).default('auto'),
  tls: tls.optional(),
  catalogue: flag().default(false),
  /** The cache of upstreams' responses. */
  cache: z
    .strictObject(
      {
        bytes: integer(MIB, 64 * GIB, 'bytes'),
        objectBytes: integer(KIB, GIB, 'bytes').default(MIB),
        status: flag().default(false),
      },
      must('a map of bytes, objectBytes and status'),
    )
    .optional(),
  /** The largest request body; `limits.bodyBytes` when absent. */
  bodyBytes: integer(0, MAX_BODY_BYTES, 'bytes').optional(),
  types: z
    .record(
      z
        .string()
        .regex(ENDING, { error: 'must be the ending of a file name: 1 to 32 of a-z, 0-9, _, + and -' }),
      z.string(must(MEDIA_TYPE_RULE)).regex(MEDIA_TYPE, { error: `must be ${MEDIA_TYPE_RULE}` }),
      must('a map from ending to media type'),
    )
    .default({}),
  clone: z
    .strictObject({ pre: flag().default(false), keep: flag().default(false) }, must('a map of options'))
    .prefault({}),
});

const limits = z.strictObject(
  {
    connections: integer(1, 1_000_000).default(10_000),
    handshakes: integer(1, 1_000_000).default(1000),
    headBytes: integer(KIB, MAX_HEAD_BYTES, 'bytes').default(16 * KIB),
    headFields: integer(8, 1000).default(100),
    bodyBytes: integer(0, MAX_BODY_BYTES, 'bytes').default(16 * MIB),
    halfPipes: integer(1, 8).default(4),
    flows: integer(1, MIB).default(64 * KIB),
    cacheBytes: integer(0, 64 * GIB, 'bytes').default(64 * MIB),
    openFiles: integer(1, 1_000_000).default(1024),
    digestBytes: integer(0, TIB, 'bytes').default(16 * GIB),
    idleSeconds: integer(1, 86_400, 'seconds').default(60),
    headSeconds: integer(1, 3600, 'seconds').default(10),
    stallSeconds: integer(1, 3600, 'seconds').default(60),
  },
  must('a map of limits'),
);

const timeouts = z.strictObject(
  {
    setupMs: integer(10, 60_000, 'milliseconds').default(500),
    peerMs: integer(100, 60_000, 'milliseconds').default(3000),
    upstreamConnectMs: integer(10, 60_000, 'milliseconds').default(2000),
    upstreamSeconds: integer(1, 86_400, 'seconds').default(60),
    upstreamPauseSeconds: integer(1, 86_400, 'seconds').default(600),
    stopSeconds: integer(0, 3600, 'seconds').default(10),
  },
  must('a map of timeouts'),
);

/** Longer is no wait for what comes at once any more. */
const MAX_SPIN_US = 10_000;
const engine = z.strictObject({ spinUs: integer(0, MAX_SPIN_US, 'microseconds').default(0) }, must('a map'));

/** In one step of redirection a tenth of the connections moves: less than lies between the two. */
export const MIN_REDIRECT_BAND_PERMILLE = 150;
export const redirectSchema = z
  .strictObject(
    {
      enabled: flag().default(false),
      highPermille: integer(1, 1000, PERMILLE_OF_LOAD).default(800),
      lowPermille: integer(1, 1000, PERMILLE_OF_LOAD).default(500),
    },
    must('a map'),
  )
  .prefault({});

const MAX_NETWORKS = 1024;
const NETWORK = 'an address or a network, for example 10.0.0.0/8 or 2001:db8::/32';
const networks = () =>
  z
    .array(
      z.string(must(NETWORK)).refine((text) => parseNetwork(text) !== null, { error: `must be ${NETWORK}` }),
      must('a list of networks'),
    )
    .max(MAX_NETWORKS, { error: `must have at most ${MAX_NETWORKS} networks` });

const forward = z.strictObject(
  {
    trusted: networks().default([]),
    xForwarded: flag().default(true),
    forwarded: flag().default(true),
    xRealIp: flag().default(false),
  },
  must('a map'),
);

const ACCESS_LOG = '"-" for standard output, a path, or off';
const observe = z.strictObject(
  {
    servedBy: flag().default(false),
    serverTiming: z
      .union([z.boolean(), networks()], must('true, false or a list of networks'))
      .default(false),
    accessLog: z
      .union([z.string().min(1), z.literal(false)], must(ACCESS_LOG))
      .transform((value) => (value === 'off' || value === false ? null : value))
      .default('-'),
    accessFields: z
      .array(choice(ACCESS_FIELDS), must('a list of fields'))
      .transform((fields) => [...new Set(fields)])
      .default([]),
    logLevel: choice(LOG_LEVELS).default('info'),
  },
  must('a map'),
);

export const listenSchema = z
  .strictObject({ port: port(80), tlsPort: port(443), tlsRekey: flag().default(false) }, must('a map'))
  .prefault({});

export const fileSchema = z.strictObject(
  {
    cluster: z.strictObject(
      { key: text(`a text of at least ${MIN_KEY_CHARACTERS} characters`) },
      must('a map'),
    ),
    nodes: z
      .record(
        z.string().regex(NODE_NAME, { error: `must be ${NODE_NAME_RULE}` }),
        nodeSchema,
        must('a map of nodes'),
      )
      .refine((nodes) => Object.keys(nodes).length > 0, { error: 'must name at least one node' })
      .refine((nodes) => Object.keys(nodes).length <= MAX_NODES, {
        error: `must name at most ${MAX_NODES} nodes`,
      }),
    sites: z
      .array(siteSchema, must('a list of sites'))
      .min(1, { error: 'must have at least one site' })
      .max(MAX_SITES, { error: `must have at most ${MAX_SITES} sites` }),
    listen: listenSchema,
    limits: limits.prefault({}),
    timeouts: timeouts.prefault({}),
    engine: engine.prefault({}),
    redirect: redirectSchema,
    boost: boostSchema,
    forward: forward.prefault({}),
    observe: observe.prefault({}),
  },
  must('a map with cluster, nodes and sites'),
);

export type FileValue = z.output<typeof fileSchema>;
export type NodeValue = z.output<typeof nodeSchema>;
export type RedirectValue = z.output<typeof redirectSchema>;
export type SiteValue = z.output<typeof siteSchema>;

/** The keys the file may have at `path`; empty where keys are free (node names) or there are none. */
export function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: unknown = fileSchema;
  for (const step of [...path, undefined]) {
    while (
      schema instanceof z.ZodDefault ||
      schema instanceof z.ZodPrefault ||
      schema instanceof z.ZodOptional
    ) {
      schema = schema.unwrap();
    }
    if (schema instanceof z.ZodPipe) schema = schema.out;
    if (step === undefined) break;
    if (schema instanceof z.ZodObject) schema = schema.shape[step as string];
    else if (schema instanceof z.ZodRecord) schema = schema.valueType;
    else if (schema instanceof z.ZodArray) schema = schema.element;
    else return [];
  }
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}
