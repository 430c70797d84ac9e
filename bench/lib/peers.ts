/**
 * The peers in a lab like Baton's, from Debian's packages, with their own configuration and in the foreground:
 * nginx as a server of files on some nodes (ports 8080 and 8081), on node a HAProxy (port 80) and nginx (port 81) as
 * proxies to those, and nginx as a cache (ports 8082 and 8083). One worker or thread each, as Baton has one engine, and set to do well: sendfile, open files
 * kept, connections to the servers behind kept; no access log, unless it is wanted.
 *
 * With certificates clients come over TLS, to the proxies if there are any, else to the servers of files: TLS 1.3 by the
 * cipher suite and the curve that Baton would choose. What proxies have behind them is in the clear.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { LabCertificates } from '../../src/tools/lab/authority.ts';
import { Lab } from '../../src/tools/lab/lab.ts';
import type { LabOptions } from '../../src/tools/lab/plan.ts';
import { atExit, scratchDirectory } from './cleanup.ts';
import { nginxConfig } from './nginx-config.ts';
import { ORIGIN_PORT, startOrigins } from './origins.ts';
import { pinServer } from './processor.ts';
import type { Server } from './server.ts';

/**
 * By tcp_nopush. Off, nginx's default, sends head and file as packets of their own; on, in common packets, which is
 * the faster way for the smallest files and by far the slower one for others.
 */
const SERVER_PORTS = { off: 8080, on: 8081 } as const;
/** Of nginx as a cache, likewise. */
const CACHE_PORTS = { off: 8082, on: 8083 } as const;
const HAPROXY_PORT = 80;
const NGINX_PROXY_PORT = 81;
const CIPHER_SUITE = 'TLS_AES_128_GCM_SHA256';
const CURVE = 'X25519';
const READY_TIMEOUT_MS = 10_000;
const POLL_MS = 20;

type Certificates = LabCertificates | null;

/** What follows the port of a `listen`, and the directives that it needs in its server. */
const nginxTls = (certificates: Certificates): { listen: string; server: string } =>
  certificates === null
    ? { listen: '', server: '' }
    : {
        listen: ' ssl',
        server: `ssl_certificate ${certificates.cert}; ssl_certificate_key ${certificates.key};
    ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites ${CIPHER_SUITE}; ssl_ecdh_curve ${CURVE};`,
      };

function fileServers(root: string, certificates: Certificates): string {
  const tls = nginxTls(certificates);
  const server = ([nopush, port]: [string, number]) => `server {
    listen ${port}${tls.listen} backlog=4096; tcp_nopush ${nopush}; root ${root};
    ${tls.server}
  }`;
  return Object.entries(SERVER_PORTS).map(server).join('\n  ');
}

function nginxProxy(servers: readonly string[], certificates: Certificates): string {
  const tls = nginxTls(certificates);
  return `upstream servers {
    ${servers.map((server) => `server ${server};`).join('\n    ')}
    keepalive 128;
    keepalive_requests 1000000000;
  }
  server {
    listen ${NGINX_PROXY_PORT}${tls.listen} backlog=4096;
    ${tls.server}
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      # No response goes through a file on its way.
      proxy_max_temp_file_size 0;
    }
  }`;
}

const nginxCache = (
  directory: string,
  upstream: string,
) => `proxy_cache_path ${directory} keys_zone=responses:10m inactive=1h use_temp_path=off;
  upstream origin {
    server ${upstream};
    keepalive 64;
  }
  ${Object.entries(CACHE_PORTS)
    .map(
      ([nopush, port]) => `server {
    listen ${port} backlog=4096;
    tcp_nopush ${nopush};
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache responses;
    }
  }`,
    )
    .join('\n  ')}`;

const HAPROXY_TLS = `ssl-default-bind-ciphersuites ${CIPHER_SUITE}
  ssl-default-bind-curves ${CURVE}
  ssl-default-bind-options ssl-min-ver TLSv1.3`;

/** `pem`: of certificate and key, null without TLS. */
const haproxyConfig = (servers: readonly string[], pem: string | null, logs: boolean) => `
global
  nbthread 1
  maxconn 4096
  ${logs ? 'log stdout format raw local0' : ''}
  ${pem === null ? '' : HAPROXY_TLS}
defaults
  mode http
  ${logs ? 'log global\n  option httplog' : ''}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend clients
  bind :${HAPROXY_PORT} backlog 4096${pem === null ? '' : ` ssl crt ${pem} alpn http/1.1`}
  default_backend servers
backend servers
  balance roundrobin
  ${servers.map((server, i) => `server s${i} ${server}`).join('\n  ')}
`;

export interface PeerOptions extends Pick<LabOptions, 'name' | 'nodes' | 'rate'> {
  readonly root: string;
  /** Nodes with a server of the files: an nginx, or one by node:http. */
  readonly servers: readonly string[];
  readonly by?: 'nginx' | 'node:http';
  /** Whether node a has the proxies. */
  readonly proxies: boolean;
  /** Whether they write access logs. */
  readonly logs?: boolean;
  /** What clients are shown; left out: they come in the clear. */
  readonly certificates?: Certificates;
}

export class Peers {
  readonly #lab: Lab;
  readonly #ends: Array<() => void> = [];
  readonly #logs: boolean;
  readonly #removeLab: () => void;
  /** What proxies have behind them. */
  #behind: ReadonlyMap<string, number> = new Map();
  /** nginx serving files, by node. */
  readonly servers = new Map<string, Server>();
  /** The same processes with tcp_nopush. */
  readonly noPushServers = new Map<string, Server>();
  #haproxy: Server | undefined;
  #nginxProxy: Server | undefined;

  private constructor(lab: Lab, logs: boolean) {
    this.#lab = lab;
    this.#logs = logs;
    this.#removeLab = atExit(() => lab.down());
  }

  get haproxy(): Server {
    return this.#haproxy!;
  }

  get nginxProxy(): Server {
    return this.#nginxProxy!;
  }

  /** The processes of what proxies have behind them. */
  get behind(): ReadonlyMap<string, number> {
    return this.#behind;
  }

  static async up(options: PeerOptions): Promise<Peers> {
    const {
      root,
      servers,
      proxies,
      by = 'nginx',
      certificates = null,
      logs = false,
      ...labOptions
    } = options;
    const peers = new Peers(await Lab.up({ ...labOptions, root, command: null }), logs);
    const ofFiles = proxies ? null : certificates;
    for (const node of by === 'nginx' ? servers : []) {
      const config = fileServers(root, ofFiles);
      const server = await peers.#nginx(node, 'files', config, SERVER_PORTS.off, ofFiles);
      peers.servers.set(node, server);
      const endpoint = `${peers.#lab.node(node).address}:${SERVER_PORTS.on}`;
      peers.noPushServers.set(node, { ...server, endpoint });
    }
    if (!proxies) return peers;
    peers.#behind =
      by === 'nginx'
        ? new Map([...peers.servers].map(([node, { processes }]) => [node, processes.get(node)!]))
        : await startOrigins(peers.#lab, servers, root);
    const port = by === 'nginx' ? SERVER_PORTS.off : ORIGIN_PORT;
    const addresses = servers.map((node) => `${peers.#lab.node(node).address}:${port}`);
    peers.#haproxy = await peers.#haproxyAt('a', addresses, certificates);
    const proxy = nginxProxy(addresses, certificates);
    peers.#nginxProxy = await peers.#nginx('a', 'proxy', proxy, NGINX_PROXY_PORT, certificates);
    return peers;
  }

  /** nginx with proxy_cache on a node, in front of an HTTP server there; without tcp_nopush, and with. */
  async caches(node: string, upstream: string): Promise<readonly Server[]> {
    const server = nginxCache(this.#directory('nginx-stored'), upstream);
    const off = await this.#nginx(node, 'cache', server, CACHE_PORTS.off, null);
    return [off, { ...off, endpoint: `${this.#lab.node(node).address}:${CACHE_PORTS.on}` }];
  }

  #directory(name: string): string {
    return mkdtempSync(join(scratchDirectory(), `${name}-`));
  }

  #nginx(
    node: string,
    role: string,
    server: string,
    port: number,
    certificates: Certificates,
  ): Promise<Server> {
    const directory = this.#directory(`nginx-${node}-${role}`);
    const config = join(directory, 'nginx.conf');
    writeFileSync(config, nginxConfig(directory, server, this.#logs));
    const argv = ['nginx', '-e', 'stderr', '-c', config];
    return this.#start('nginx', node, argv, directory, port, certificates);
  }

  #haproxyAt(node: string, servers: readonly string[], certificates: Certificates): Promise<Server> {
    const directory = this.#directory(`haproxy-${node}`);
    const config = join(directory, 'haproxy.cfg');
    const pem = certificates === null ? null : join(directory, 'site.pem');
    if (certificates !== null) {
      const whole = [certificates.cert, certificates.key].map((file) => readFileSync(file, 'utf8')).join('');
      writeFileSync(pem!, whole, { mode: 0o600 });
    }
    writeFileSync(config, haproxyConfig(servers, pem, this.#logs));
    const argv = ['haproxy', '-W', '-db', '-f', config];
    return this.#start('haproxy', node, argv, directory, HAPROXY_PORT, certificates);
  }

  /** Starts a peer's process and waits until its port takes connections. */
  async #start(
    name: string,
    node: string,
    argv: string[],
    directory: string,
    port: number,
    certificates: Certificates,
  ): Promise<Server> {
    const log = join(directory, 'log');
    const fd = openSync(log, 'w');
    const [file, ...rest] = this.#lab.argv(node, argv);
    const child = spawn(file, rest, { stdio: ['ignore', fd, fd] });
    await once(child, 'spawn');
    // SIGTERM: an nginx that is killed leaves its worker behind.
    this.#ends.push(atExit(() => child.kill('SIGTERM')));
    const { address } = this.#lab.node(node);
    const scheme = certificates === null ? 'http' : 'https';
    const url = `${scheme}://${address}:${port}/`;
    const endMs = performance.now() + READY_TIMEOUT_MS;
    // The certificate is the other lab's, with other names.
    const asks = ['curl', '-sk', '-o', '/dev/null', '-m', '1', url];
    while ((await this.#lab.exec('client', asks)).code !== 0) {
      if (hasEnded(child) || performance.now() > endMs)
        throw new Error(`${name} on node ${node} does not answer at ${url}:\n${readFileSync(log, 'utf8')}`);
      await delay(POLL_MS);
    }
    pinServer(child.pid!);
    return {
      name,
      lab: this.#lab,
      endpoint: `${address}:${port}`,
      scheme,
      processes: new Map([[node, child.pid!]]),
      log: () => readFileSync(log, 'utf8'),
    };
  }

  /** Ends the peers and takes their lab down. */
  down(): void {
    for (const end of this.#ends) end();
    this.#removeLab();
  }
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;
