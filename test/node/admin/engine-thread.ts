/**
 * The engine's side of the message protocol, in a thread of its own that blocks as an engine does: it reads its
 * port only between two rounds, when it is woken. The test tells it over `parentPort` what to say.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { FlowStatus } from '../../../src/handoff/flow/flow-status.ts';
import type { Explanation } from '../../../src/node/engine/explain.ts';
import type { EngineStatus, FromEngine, LinkStatus, ToEngine } from '../../../src/node/engine/messages.ts';

export interface ThreadData {
  readonly engine: number;
  readonly port: MessagePort;
  /** One int32, counted up and notified to wake the thread. */
  readonly wake: SharedArrayBuffer;
  readonly links: LinkStatus[];
  readonly flows: number;
}

export type Command =
  | { readonly do: 'say'; readonly message: FromEngine }
  /** While deaf, the thread does not read its port. */
  | { readonly do: 'deaf'; readonly deaf: boolean }
  | { readonly do: 'exit' };

const data = workerData as ThreadData;
const rounds = new Int32Array(data.wake);
let deaf = false;
let queries = 0;

function flow(slot: number): FlowStatus {
  const ranges = [{ node: 'b', start: 0, end: null }];
  const addresses = { client: '10.77.0.1:40000', public: '10.77.0.101:80' };
  return {
    engine: data.engine,
    slot,
    role: 'anchor',
    ...addresses,
    nodes: ['b'],
    state: 'open',
    identified: true,
    acknowledged: 0,
    ranges,
  };
}

function say(message: FromEngine): void {
  data.port.postMessage(message);
}

function flowList(): FlowStatus[] {
  return Array.from({ length: data.flows }, (_, slot) => flow(slot));
}

/** `connections` tells the test how many queries reached the engine. */
function status(): EngineStatus {
  const { engine, links, flows } = data;
  const nothing = {
    differences: {},
    linkFailures: [],
    loads: [],
    spread: null,
    boost: null,
    boosted: null,
    policies: {},
    auto: {
      chosen: { relay: 0, anchor: 0, clone: 0 },
      connectionRequests: 8,
      learntPaths: 0,
      meanBytes: {},
      byteTimes: 1,
    },
    cached: {},
    sites: [],
  };
  return { engine, connections: queries, flows, halfPipes: 0, links, ...nothing };
}

function onMessage(message: ToEngine): void {
  if (message.type === 'stop') {
    say({ type: 'stopped', leftRoutes: false });
    return;
  }
  if (message.type === 'policies') {
    const error = message.sites.length > 0 ? null : 'no sites';
    say({ type: 'taken', id: message.id, error });
    return;
  }
  if (message.type === 'explain') {
    const { id, host, target } = message;
    const value: Explanation = { site: host, policy: target, node: 'b', mechanism: 'relay', auto: null };
    say({ type: 'explained', id, value: target === '/refused' ? 'it cannot be' : value });
    return;
  }
  if (message.type === 'purge') {
    say({ type: 'purged', id: message.id, resources: message.path.length });
    return;
  }
  if (message.type !== 'query') return;
  queries += 1;
  say({ type: 'reply', id: message.id, value: message.what === 'flows' ? flowList() : status() });
}

for (;;) {
  const round = Atomics.load(rounds, 0);
  for (
    let got = receiveMessageOnPort(parentPort!);
    got !== undefined;
    got = receiveMessageOnPort(parentPort!)
  ) {
    const command = got.message as Command;
    if (command.do === 'exit') process.exit(0);
    if (command.do === 'deaf') deaf = command.deaf;
    if (command.do === 'say') say(command.message);
  }
  while (!deaf) {
    const got = receiveMessageOnPort(data.port);
    if (got === undefined) break;
    onMessage(got.message as ToEngine);
  }
  Atomics.wait(rounds, 0, round);
}
