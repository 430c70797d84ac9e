/** The node's engines as threads: made, awaited, stopped. */
import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { MessageChannel, Worker } from 'node:worker_threads';
import { Counters } from '../../base/counters.ts';
import { check } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { EngineClient } from '../admin/engines.ts';
import { StartError } from './errors.ts';
import type { EngineWorkerData } from './worker.ts';

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
/** Tables of a million flows take seconds on a small machine. */
const START_TIMEOUT_MS = 60_000;

export interface EngineThread {
  readonly client: EngineClient;
  readonly worker: Worker;
  readonly counters: Counters;
  readonly wakeFd: number;
}

/** What all engines of a node are given. */
export type EngineBase = Omit<EngineWorkerData, 'port' | 'wakeFd' | 'index'>;

/**
 * V8 makes old from the start what often became old before. Here what lived for long under load (a few ms of some kind)
 * does not live longer than the rest, and every old object keeps the young ones that it leads to, dead or not, until all
 * of the heap is collected: with it a collection of young objects takes 7 ms at 1,400 new connections by anchor a second,
 * without it 2.
 */
const NOTHING_BORN_OLD = '--no-allocation-site-pretenuring';

export function startEngine(base: EngineBase, index: number): EngineThread {
  // Before the first engine's heap is there. It holds for the whole process.
  setFlagsFromString(NOTHING_BORN_OLD);
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

/** Resolves when the engine listens. Rejects with StartError when it ends first, or takes too long. */
export function listening({ client, worker }: EngineThread): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (detail: string) => {
      clear();
      const hint = 'baton doctor says what this machine lacks; the log has more';
      reject(new StartError('ENGINE', `engine ${client.engine}: ${detail}`, hint));
    };
    const onError = (error: Error) => fail(error.message);
    const onExit = () => fail('it ended');
    const onState = () => {
      if (client.state !== 'listening') return;
      clear();
      resolve();
    };
    const timer = setTimeout(
      () => fail(`does not listen after ${START_TIMEOUT_MS / 1000} s`),
      START_TIMEOUT_MS,
    );
    const clear = () => {
      clearTimeout(timer);
      worker.off('error', onError);
      worker.off('exit', onExit);
      client.off('state', onState);
    };
    worker.on('error', onError);
    worker.on('exit', onExit);
    client.on('state', onState);
    onState();
  });
}

export async function stopEngine(engine: EngineThread, deadlineMs: number): Promise<void> {
  const ended = once(engine.worker, 'exit');
  if (!(await engine.client.stop(deadlineMs))) await engine.worker.terminate();
  await ended;
  libc.close(engine.wakeFd);
}
