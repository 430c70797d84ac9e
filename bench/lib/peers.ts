/**
 * The peers in a lab like Baton's, from Debian's packages, with their own configuration and in the foreground:
 * nginx as a server of files on some nodes (ports 8080 and 8081), on node a HAProxy (port 80) and nginx (port 81) as
 * proxies to those, and nginx as a cache (ports 8082 and 8083). One worker or thread each, as Baton has one engine, and set to do well: sendfile, open files
 * kept, connections to the servers behind kept, no access log.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Lab } from '../../src/tools/lab/lab.ts';
import type { LabOptions } from '../../src/tools/lab/plan.ts';
import { atExit, scratchDirectory } from './cleanup.ts';
import { nginxConfig } from './nginx-config.ts';
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
const READY_TIMEOUT_MS = 10_000;
const POLL_MS = 20;

const fileServers = (root: string) =>
  Object.entries(SERVER_PORTS)
    .map(([nopush, port]) => `server { listen ${port} backlog=4096; tcp_nopush ${nopush}; root ${root}; }`)
    .join('\n  ');

const nginxProxy = (servers: readonly string[]) => `upstream servers {
    ${servers.map((server) => `server ${server};`).join('\n    ')}
    keepalive 128;
    keepalive_requests 1000000000;
  }
  server {
    listen ${NGINX_PROXY_PORT} backlog=4096;
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      # No response goes through a file on its way.
      proxy_max_temp_file_size 0;
    }
  }`;

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

const haproxyConfig = (servers: readonly string[]) => `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend clients
  bind :${HAPROXY_PORT} backlog 4096
  default_backend servers
backend servers
  balance roundrobin
  ${servers.map((server, i) => `server s${i} ${server}`).join('\n  ')}
`;

export interface PeerOptions extends Pick<LabOptions, 'name' | 'nodes' | 'rate'> {
  readonly root: string;
  /** Nodes with an nginx that serves files. */
  readonly servers: readonly string[];
  /** Whether node a has the proxies. */
  readonly proxies: boolean;
}

export class Peers {
  readonly #lab: Lab;
  readonly #ends: Array<() => void> = [];
  readonly #removeLab: () => void;
  /** nginx serving files, by node. */
  readonly servers = new Map<string, Server>();
  /** The same processes with tcp_nopush. */
  readonly noPushServers = new Map<string, Server>();
  #haproxy: Server | undefined;
  #nginxProxy: Server | undefined;

  private constructor(lab: Lab) {
    this.#lab = lab;
    this.#removeLab = atExit(() => lab.down());
  }

  get haproxy(): Server {
    return this.#haproxy!;
  }

  get nginxProxy(): Server {
    return this.#nginxProxy!;
  }

  static async up({ root, servers, proxies, ...labOptions }: PeerOptions): Promise<Peers> {
    const peers = new Peers(await Lab.up({ ...labOptions, root, command: null }));
    for (const node of servers) {
      const server = await peers.#nginx(node, 'files', fileServers(root), SERVER_PORTS.off);
      peers.servers.set(node, server);
      const endpoint = `${peers.#lab.node(node).address}:${SERVER_PORTS.on}`;
      peers.noPushServers.set(node, { ...server, endpoint });
    }
    if (!proxies) return peers;
    const addresses = servers.map((node) => `${peers.#lab.node(node).address}:${SERVER_PORTS.off}`);
    peers.#haproxy = await peers.#haproxyAt('a', addresses);
    peers.#nginxProxy = await peers.#nginx('a', 'proxy', nginxProxy(addresses), NGINX_PROXY_PORT);
    return peers;
  }

  /** nginx with proxy_cache on a node, in front of an HTTP server there; without tcp_nopush, and with. */
  async caches(node: string, upstream: string): Promise<readonly Server[]> {
    const server = nginxCache(this.#directory('nginx-stored'), upstream);
    const off = await this.#nginx(node, 'cache', server, CACHE_PORTS.off);
    return [off, { ...off, endpoint: `${this.#lab.node(node).address}:${CACHE_PORTS.on}` }];
  }

  #directory(name: string): string {
    return mkdtempSync(join(scratchDirectory(), `${name}-`));
  }

  #nginx(node: string, role: string, server: string, port: number): Promise<Server> {
    const directory = this.#directory(`nginx-${node}-${role}`);
    const config = join(directory, 'nginx.conf');
    writeFileSync(config, nginxConfig(directory, server));
    return this.#start('nginx', node, ['nginx', '-e', 'stderr', '-c', config], directory, port);
  }

  #haproxyAt(node: string, servers: readonly string[]): Promise<Server> {
    const directory = this.#directory(`haproxy-${node}`);
    const config = join(directory, 'haproxy.cfg');
    writeFileSync(config, haproxyConfig(servers));
    return this.#start('haproxy', node, ['haproxy', '-W', '-db', '-f', config], directory, HAPROXY_PORT);
  }

  /** Starts a peer's process and waits until its port takes connections. */
  async #start(name: string, node: string, argv: string[], directory: string, port: number): Promise<Server> {
    const log = join(directory, 'log');
    const fd = openSync(log, 'w');
    const [file, ...rest] = this.#lab.argv(node, argv);
    const child = spawn(file, rest, { stdio: ['ignore', fd, fd] });
    await once(child, 'spawn');
    // SIGTERM: an nginx that is killed leaves its worker behind.
    this.#ends.push(atExit(() => child.kill('SIGTERM')));
    const { address } = this.#lab.node(node);
    const url = `http://${address}:${port}/`;
    const endMs = performance.now() + READY_TIMEOUT_MS;
    while ((await this.#lab.exec('client', ['curl', '-s', '-o', '/dev/null', '-m', '1', url])).code !== 0) {
      if (hasEnded(child) || performance.now() > endMs)
        throw new Error(`${name} on node ${node} does not answer at ${url}:\n${readFileSync(log, 'utf8')}`);
      await delay(POLL_MS);
    }
    pinServer(child.pid!);
    return {
      name,
      lab: this.#lab,
      endpoint: `${address}:${port}`,
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
