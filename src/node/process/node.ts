/** A node: the main thread. It sets up what the engines share, starts them, watches them, and clears up. */
import { once } from 'node:events';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { ClusterConfig, NodeConfig } from '../../base/config/config.ts';
import { Counters } from '../../base/counters.ts';
import { tryPolicies } from '../../cluster/policy/create.ts';
import { check, SystemError } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { destroyMarked } from '../../kernel/linux/sock-diag.ts';
import { HALF_PIPE_MARK } from '../../kernel/router/layout.ts';
import { isAttached, Router } from '../../kernel/router/router.ts';
import { clusterKey } from '../../protocol/backplane/key.ts';
import { EngineClient } from '../admin/engines.ts';
import { AccessLog, logEngine, openProcessLog } from '../admin/log.ts';
import { startAdmin } from '../admin/server.ts';
import { installAddresses, macOf, removeAddresses } from './addresses.ts';
import { Reloader } from './reload.ts';
import type { EngineWorkerData } from './worker.ts';

export interface RunningNode {
  /** Resolves when the admin API is told to empty the node. */
  readonly drainRequested: Promise<void>;
  /**
   * Gives connections to the other nodes and lets the others finish for at most `deadlineMs`. Leaves the machine as it
   * was, unless connections have gone elsewhere: then the router and the addresses stay, for the next start.
   */
  stop(deadlineMs: number): Promise<void>;
}

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;

interface RunningEngine {
  readonly client: EngineClient;
  readonly worker: Worker;
  readonly counters: Counters;
  readonly wakeFd: number;
}

function startEngine(
  base: Omit<EngineWorkerData, 'port' | 'wakeFd' | 'index'>,
  index: number,
): RunningEngine {
  const { port1, port2 } = new MessageChannel();
  const wakeFd = check('eventfd', libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  const one = allocate(8);
  one.bytes.writeBigUInt64LE(1n, 0);
  const workerData: EngineWorkerData = { ...base, index, port: port2, wakeFd };
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData, transferList: [port2] });
  const wake = () => libc.write(wakeFd, one.address, 8);
  const client = new EngineClient({ engine: index, port: port1, wake });
  return { client, worker, counters: new Counters(base.counters[index]), wakeFd };
}

function openRouter(config: ClusterConfig, self: NodeConfig): Router {
  const publics = config.nodes.flatMap((node) =>
    node.public.map((address) => ({ address, own: node === self })),
  );
  return new Router({
    interface: self.interface,
    address: self.address,
    publics,
    engines: self.engines,
    flows: config.limits.flows,
  });
}

/**
 * What a killed process had not delivered, another node has. Until its sockets have gone this node could not serve
 * the same clients again.
 */
function endLeftHalfPipes(logger: Logger): void {
  try {
    const sockets = destroyMarked(HALF_PIPE_MARK);
    if (sockets > 0) logger.warn({ sockets }, 'ended half-pipes that a process left');
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    logger.warn({ error: error.message }, 'half-pipes that a process left stay for limits.stallSeconds');
  }
}

/** Starts node `name`. Throws what failed; nothing is left behind then. */
export async function startNode(config: ClusterConfig, name: string): Promise<RunningNode> {
  const self = config.nodes.find((node) => node.name === name)!;
  await tryPolicies(config.sites);
  const processLog = openProcessLog({ level: config.observe.logLevel, node: name });
  const { logger } = processLog;
  const takesOver = isAttached(self.interface);
  if (takesOver) logger.warn({ interface: self.interface }, 'taking the place of a router that was left');
  const router = openRouter(config, self);
  if (router.disinherited)
    logger.warn(
      'connections that had moved from here are lost: taking over their routes needs CAP_SYS_ADMIN',
    );
  // The guard stands before the addresses that it guards are there.
  router.attach();
  if (!router.carriesCongestion)
    logger.warn('no cgroup2: half-pipes start with the initial congestion window');
  endLeftHalfPipes(logger);
  const installed = installAddresses(config, self, takesOver);
  const clearUp = () => {
    removeAddresses(installed);
    router.close();
  };
  let engines: RunningEngine[] = [];
  try {
    const base = {
      config,
      node: name,
      clusterKey: clusterKey(config.key),
      mac: macOf(self.interface),
      router: router.handles,
      counters: Array.from({ length: self.engines }, () => new Counters().buffer),
    };
    engines = Array.from({ length: self.engines }, (_, index) => startEngine(base, index));
    const onAccessError = (error: Error) => logger.error({ error: error.message }, 'access log');
    const accessLog = new AccessLog({ destination: config.observe.accessLog, onError: onAccessError });
    for (const { client, worker } of engines) {
      logEngine(logger, client);
      client.on('access', (records) => accessLog.write(records));
      worker.on('error', (error) => {
        // An engine that threw is a defect: the process ends, and the guard keeps its half-pipes quiet.
        logger.fatal({ engine: client.engine, error: error.stack }, 'engine failed');
        setImmediate(() => process.exit(1));
      });
    }
    const reloader = new Reloader(
      config,
      engines.map((engine) => engine.client),
    );
    const onHangup = () => reload(reloader, logger);
    process.on('SIGHUP', onHangup);
    let requestDrain = () => {};
    const drainRequested = new Promise<void>((resolve) => {
      requestDrain = resolve;
    });
    const admin = await startAdmin({
      address: self.admin,
      node: name,
      nodes: config.nodes.map((node) => node.name),
      engines: engines.map((engine) => engine.client),
      counters: engines.map((engine) => engine.counters),
      routerCounters: () => router.counters(),
      reload: () => reloader.status,
      drain: () => requestDrain(),
      droppedLines: () => ({ access: accessLog.droppedLines, process: processLog.droppedLines }),
    });
    logger.info({ pid: process.pid, engines: self.engines, public: self.public }, 'node started');
    const stop = async (deadlineMs: number) => {
      process.off('SIGHUP', onHangup);
      await Promise.all(engines.map((engine) => stopEngine(engine, deadlineMs)));
      await admin.close();
      // Connections that live on elsewhere come through this machine: its router and its addresses stay.
      const stays = engines.some((engine) => engine.client.leftRoutes);
      if (stays) router.close(true);
      else clearUp();
      logger.info({ routerStays: stays }, 'node stopped');
      await accessLog.close();
    };
    let stopped: Promise<void> | null = null;
    return {
      drainRequested,
      stop: (deadlineMs) => {
        // Whoever waits longer is hurried.
        if (stopped !== null) for (const { client } of engines) void client.stop(deadlineMs);
        stopped ??= stop(deadlineMs);
        return stopped;
      },
    };
  } catch (error) {
    await Promise.all(engines.map((engine) => engine.worker.terminate()));
    clearUp();
    throw error;
  }
}

/** SIGHUP: the outcome is in the log, and in /api/status. */
function reload(reloader: Reloader, logger: Logger): void {
  reloader.reload().then(
    (sites) => logger.info({ sites }, 'configuration reloaded'),
    (error: Error) =>
      logger.error({ error: error.message }, 'configuration not reloaded; the old one stays in force'),
  );
}

async function stopEngine(engine: RunningEngine, deadlineMs: number): Promise<void> {
  const ended = once(engine.worker, 'exit');
  if (!(await engine.client.stop(deadlineMs))) await engine.worker.terminate();
  await ended;
  libc.close(engine.wakeFd);
}
