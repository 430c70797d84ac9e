/** A node: the main thread. It sets up what the engines share, starts them, watches them, and clears up. */
import type { Logger } from 'pino';
import type { ClusterConfig, NodeConfig } from '../../base/config/config.ts';
import { rootProblems } from '../../base/config/roots.ts';
import { Counters } from '../../base/counters.ts';
import type { BoostMode } from '../../cluster/boost-switch.ts';
import { tryPolicies } from '../../cluster/policy/trial.ts';
import { forbidCoreFiles } from '../../kernel/linux/core-files.ts';
import { hardwareAddress } from '../../kernel/linux/interface.ts';
import { isAttached, Router } from '../../kernel/router/router.ts';
import { clusterKey } from '../../protocol/backplane/key.ts';
import { Doors } from '../admin/doors.ts';
import { AccessLog, logEngine, openProcessLog, type ProcessLog } from '../admin/log.ts';
import { startAdmin } from '../admin/server.ts';
import { leftOn, PublicAddresses, wantedAddresses } from './addresses.ts';
import { callsPerKib } from './bytes-against-calls.ts';
import { Certificates, EXPIRES_SOON_DAYS, LOOK_MS, type Renewal } from './certificates.ts';
import { Digests } from './digests.ts';
import { type EngineBase, type EngineThread, listening, startEngine, stopEngine } from './engine-threads.ts';
import { StartError, step } from './errors.ts';
import { LeftBehind } from './left-behind.ts';
import { checkPorts } from './ports.ts';
import { Hangups, Reloader } from './reload.ts';

export interface RunningNode {
  /** Resolves when the admin API is told to empty the node. */
  readonly drainRequested: Promise<void>;
  /**
   * Gives connections to the other nodes and lets the others finish for at most `deadlineMs`. Leaves the machine as it
   * was, unless connections have gone elsewhere: then the router and the addresses stay, for the next start.
   */
  stop(deadlineMs: number): Promise<void>;
}

/** What takes a step of the start back. */
type Back = () => unknown;

/** Starts node `name`. Throws what failed; the machine is as it was before then. */
export async function startNode(config: ClusterConfig, name: string): Promise<RunningNode> {
  const self = config.nodes.find((node) => node.name === name)!;
  const back: Back[] = [];
  try {
    return await start(config, self, back);
  } catch (error) {
    for (const takeBack of back.reverse()) await takeBack();
    throw error;
  }
}

async function start(config: ClusterConfig, self: NodeConfig, back: Back[]): Promise<RunningNode> {
  const { name } = self;
  // The doors are this network namespace's lock: nobody who does not have them touches anything.
  const doors = await Doors.open(self.admin);
  back.push(() => doors.close());
  const hangups = new Hangups();
  back.push(() => hangups.close());
  checkContent(config, name);
  checkPorts(config, self);
  await tryPolicies(config.sites);
  const logs = openLogs(config, name, back);
  const { logger, accessLog } = logs;
  const { certificates, credentials } = readCertificates(config, self, logger);
  const { router, addresses, left } = prepareMachine(config, self, logger, back);
  left.remember(config.limits.stallSeconds * 1000);
  const base = {
    config,
    node: name,
    clusterKey: clusterKey(config.key),
    credentials,
    mac: macOf(self.interface),
    callsPerKib: callsPerKib(),
    router: router.handles,
    counters: Array.from({ length: self.engines }, () => new Counters().buffer),
  };
  const engines = await startEngines(base, logs, back);
  certificates.taken();
  const clients = engines.map((engine) => engine.client);
  const reloader = new Reloader(config, clients, certificates, (faults) => tellRenewal(faults, logger));
  const looking = setInterval(() => {
    const failed = (error: Error) => logger.error({ error: error.message }, 'certificates not taken');
    reloader.renew().catch(failed);
  }, LOOK_MS);
  back.push(() => clearInterval(looking));
  let requestDrain = () => {};
  const drainRequested = new Promise<void>((resolve) => {
    requestDrain = resolve;
  });
  let over = false;
  const admin = startAdmin(doors, {
    ...adminPorts(config, self, engines, logs),
    routerCounters: () => (over ? {} : router.counters()),
    reload: () => reloader.status,
    certificates: () => certificates.status(Date.now()),
    drain: () => requestDrain(),
  });
  hangups.serve(() => reload(reloader, logger));
  const removed = addresses.removeStale();
  if (removed.length > 0) logger.warn({ removed }, 'addresses that the configuration no longer has are gone');
  logger.info({ pid: process.pid, engines: self.engines, public: self.public }, 'node started');
  const closeRouter = (stays: boolean) => {
    router.close(stays);
    over = true;
  };
  const parts = { engines, closeRouter, addresses, left, logger, accessLog, admin };
  let stopped: Promise<void> | null = null;
  return {
    drainRequested,
    stop: (deadlineMs) => {
      // A stop that was given more time is hurried.
      if (stopped !== null) for (const client of clients) void client.stop(deadlineMs);
      hangups.close();
      clearInterval(looking);
      stopped ??= stopNode(parts, deadlineMs);
      return stopped;
    },
  };
}

interface Logs {
  readonly processLog: ProcessLog;
  readonly logger: Logger;
  readonly accessLog: AccessLog;
}

function openLogs({ observe }: ClusterConfig, node: string, back: Back[]): Logs {
  const processLog = openProcessLog({ level: observe.logLevel, node });
  const { logger } = processLog;
  const onError = (error: Error) => logger.error({ error: error.message }, 'access log');
  const accessLog = new AccessLog({ destination: observe.accessLog, onError });
  back.push(() => accessLog.close());
  return { processLog, logger, accessLog };
}

/** Starts the engines; all of them listen when the promise resolves. */
async function startEngines(base: EngineBase, { logger, accessLog }: Logs, back: Back[]) {
  const engines = base.counters.map((_, index) => startEngine(base, index));
  back.push(() => Promise.all(engines.map((engine) => engine.worker.terminate())));
  const digests = new Digests();
  for (const { client } of engines) {
    logEngine(logger, client);
    client.on('digest', (id, file) => void digests.of(file).then((digest) => client.digested(id, digest)));
    client.on('access', (batch) => accessLog.write(batch));
  }
  await Promise.all(engines.map((engine) => listening(engine).then(() => endWith(engine, logger))));
  return engines;
}

/** What the admin API asks of node and engines, whatever else there is. */
function adminPorts(
  { nodes, sites }: ClusterConfig,
  self: NodeConfig,
  engines: readonly EngineThread[],
  { processLog, accessLog, logger }: Logs,
) {
  const clients = engines.map((engine) => engine.client);
  const cached = sites.filter(
    ({ cache, content }) => cache !== null && content[self.name]?.kind === 'upstream',
  );
  return {
    node: self.name,
    nodes: nodes.map((node) => node.name),
    engines: clients,
    counters: engines.map((engine) => engine.counters),
    boost: self.boost.boosters.length > 0 ? (mode: BoostMode) => clients[0].boost(mode) : null,
    cachedSites: cached.map((site) => site.name),
    droppedLines: () => ({ access: accessLog.droppedLines, process: processLog.droppedLines }),
    onError: (error: Error) => logger.warn({ error: error.message }, 'admin API'),
  };
}

/** What of a running node ends one after the other. */
interface Parts {
  readonly engines: readonly EngineThread[];
  /** `stays`: attached. */
  closeRouter(stays: boolean): void;
  readonly addresses: PublicAddresses;
  readonly left: LeftBehind;
  readonly logger: Logger;
  readonly accessLog: AccessLog;
  readonly admin: { close(): Promise<void> };
}

async function stopNode(
  { engines, closeRouter, addresses, left, logger, accessLog, admin }: Parts,
  deadlineMs: number,
) {
  await Promise.all(engines.map((engine) => stopEngine(engine, deadlineMs)));
  // Connections that live on elsewhere come through this machine: its router and its addresses stay.
  const stays = engines.some(({ client }) => client.leftRoutes);
  left.close();
  if (!stays) addresses.remove();
  closeRouter(stays);
  logger.info({ routerStays: stays }, 'node stopped');
  await accessLog.close();
  // Last: the next process may start when they are closed.
  await admin.close();
}

function checkContent(config: ClusterConfig, name: string): void {
  const problems = rootProblems(config, name);
  if (problems.length === 0) return;
  const hint = `baton check --config ${config.file} --node ${name} says where in the file`;
  throw new StartError('CONTENT', problems.join('; '), hint);
}

/** Throws StartError. */
function readCertificates(config: ClusterConfig, { name, role }: NodeConfig, logger: Logger) {
  const certificates = new Certificates(role);
  const { credentials, faults } = certificates.read(config.sites);
  if (faults.length > 0) {
    const detail = faults.map(({ site, error }) => `site ${site}: ${error}`).join('; ');
    const hint = `baton check --config ${config.file} --node ${name} says where in the file`;
    throw new StartError('CERTIFICATE', detail, faults[0].hint || hint);
  }
  // Secrets of clients are in this process's memory: no core file may have them.
  if (credentials.length > 0) forbidCoreFiles();
  for (const { site, expires, daysLeft } of certificates.status(Date.now()))
    if (daysLeft < EXPIRES_SOON_DAYS) logger.warn({ site, expires }, 'certificate expires soon');
  return { certificates, credentials };
}

function tellRenewal(faults: Renewal['faults'], logger: Logger): void {
  for (const { site, error, hint } of faults)
    logger.error({ site, error, hint }, 'certificate not taken; the one before stays in force');
  if (faults.length === 0) logger.info('certificates read');
}

function macOf(name: string): Buffer {
  const mac = hardwareAddress(name);
  if (mac !== null) return mac;
  throw new StartError(
    'INTERFACE',
    `${name} has no Ethernet address`,
    'give the interface that clients come by',
  );
}

/** Router and addresses; the guard stands before the addresses that it guards are there. */
function prepareMachine(config: ClusterConfig, self: NodeConfig, logger: Logger, back: Back[]) {
  const hint = `ip link shows what interfaces there are; nodes.${self.name}.interface names one`;
  const takesOver = step('INTERFACE', hint, () => macOf(self.interface) && isAttached(self.interface));
  if (takesOver) logger.info({ interface: self.interface }, 'taking the place of a router that was left');
  const addresses = new PublicAddresses(
    wantedAddresses(config, self),
    takesOver ? leftOn(self.interface) : null,
  );
  const router = step('ROUTER', 'baton doctor says what is missing', () => {
    const opened = openRouter(config, self);
    back.push(() => opened.close(takesOver));
    opened.attach();
    return opened;
  });
  if (router.disinherited)
    logger.warn(
      'connections that had moved from here are lost: taking over their routes needs CAP_SYS_ADMIN',
    );
  if (router.misplaced)
    logger.warn('connections that had moved from here are lost: the nodes of the file are in another order');
  if (!router.carriesCongestion)
    logger.warn('no cgroup2: half-pipes start with the initial congestion window');
  const left = new LeftBehind(router, logger);
  back.push(() => left.close());
  left.end();
  back.push(() => addresses.undo());
  addresses.install();
  return { router, addresses, left };
}

function openRouter(config: ClusterConfig, self: NodeConfig): Router {
  const publics = config.nodes.flatMap((node) =>
    node.public.map((address) => ({ address, own: node === self })),
  );
  return new Router({
    interface: self.interface,
    address: self.address,
    publics,
    port: config.listen.port,
    tlsPort: config.listen.tlsPort,
    engines: self.engines,
    flows: config.limits.flows,
    nodes: config.nodes.map(({ name }) => name),
  });
}

/** An engine that throws later is a defect: the process ends, and the guard keeps its half-pipes quiet. */
function endWith({ client, worker }: EngineThread, logger: Logger): void {
  worker.on('error', (error) => {
    logger.fatal({ engine: client.engine, error: error.stack }, 'engine failed');
    setImmediate(() => process.exit(1));
  });
}

/** SIGHUP: the outcome is in the log, and in /api/status. */
function reload(reloader: Reloader, logger: Logger): void {
  reloader.reload().then(
    (sites) => logger.info({ sites }, 'configuration reloaded'),
    (error: Error) =>
      logger.error({ error: error.message }, 'configuration not reloaded; the old one stays in force'),
  );
}
