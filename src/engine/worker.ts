/** The thread of an engine: its event loop, and the port to the main thread read between two turns. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { EPOLLIN } from '../linux/epoll.ts';
import * as libc from '../linux/libc.ts';
import { allocate } from '../linux/memory.ts';
import { Engine, type EngineOptions } from './engine.ts';
import type { FromEngine, ToEngine } from './messages.ts';

export interface EngineWorkerData extends Omit<EngineOptions, 'post'> {
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
  post,
});
const counter = allocate(8);
let woken = true;

engine.loop.add(data.wakeFd, EPOLLIN, {
  ready: () => {
    libc.read(data.wakeFd, counter.address, 8);
    woken = true;
  },
});

function handle(message: ToEngine): void {
  if (message.type === 'stop') engine.stop(message.deadlineMs);
  else
    post({
      type: 'reply',
      id: message.id,
      value: message.what === 'status' ? engine.status() : engine.flowStatus(),
    });
}

engine.run(() => {
  if (!woken) return;
  woken = false;
  for (
    let next = receiveMessageOnPort(data.port);
    next !== undefined;
    next = receiveMessageOnPort(data.port)
  ) {
    handle(next.message as ToEngine);
  }
});
data.port.close();
