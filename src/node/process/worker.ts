/** The thread of an engine: its event loop, and the port to the main thread read between two turns. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { importPolicies } from '../../cluster/policy/create.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import type { EngineOptions } from '../engine/basics.ts';
import { Engine } from '../engine/engine.ts';
import type { FromEngine, ToEngine } from '../engine/messages.ts';

export interface EngineWorkerData extends Omit<EngineOptions, 'post' | 'policies'> {
  readonly port: MessagePort;
  /** An eventfd: the main thread has posted something. */
  readonly wakeFd: number;
}

const data = workerData as EngineWorkerData;
const post = (message: FromEngine): void => data.port.postMessage(message);
const engine = new Engine({
  ...data,
  // A structured clone makes Buffers plain byte arrays.
  clusterKey: Buffer.from(data.clusterKey),
  mac: Buffer.from(data.mac),
  policies: await importPolicies(data.config.sites),
  post,
});
const counter = allocate(8);
let woken = true;

engine.watch(data.wakeFd, {
  ready: () => {
    libc.read(data.wakeFd, counter.address, 8);
    woken = true;
  },
});

/** How many imports of policy modules are under way: they need the thread's own event loop. */
let importing = 0;

async function takePolicies(message: Extract<ToEngine, { type: 'policies' }>): Promise<void> {
  importing++;
  let error: string | null = null;
  try {
    engine.usePolicies(message, await importPolicies(message.sites));
  } catch (thrown) {
    error = (thrown as Error).message;
  }
  importing--;
  post({ type: 'taken', id: message.id, error });
}

function handle(message: ToEngine): void {
  if (message.type === 'policies') void takePolicies(message);
  else engine.take(message);
}

function turn(): void {
  if (woken) readMessages();
  // One turn of the engine, one of the thread's event loop: clients do not wait for an import.
  if (importing > 0) engine.pause();
}

function readMessages(): void {
  woken = false;
  for (
    let next = receiveMessageOnPort(data.port);
    next !== undefined;
    next = receiveMessageOnPort(data.port)
  ) {
    handle(next.message as ToEngine);
  }
}

while (!engine.run(turn)) await new Promise((done) => setImmediate(done));
data.port.close();
