/** What an engine is made of, and what most of its parts get: time, counters, who this is, and where lines go. */
import type { ClusterConfig } from '../../base/config/config.ts';
import { Counters } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import type { PolicyFactories } from '../../cluster/policy/create.ts';
import { Loop } from '../../kernel/loop/loop.ts';
import type { RouterHandles } from '../../kernel/router/router-engine.ts';
import type { Credentials } from '../../protocol/tls/contexts.ts';
import { EngineLog } from './engine-log.ts';
import type { FromEngine } from './messages.ts';

export interface EngineOptions {
  readonly config: ClusterConfig;
  readonly node: string;
  readonly index: number;
  readonly clusterKey: Buffer;
  /** The credentials of each site that is served over TLS. */
  readonly credentials: readonly Credentials[];
  readonly mac: Buffer;
  /** What a KiB costs on this machine that is sealed, passed on and opened, in what a call costs. */
  readonly callsPerKib: number;
  /** The counters of every engine of the node, by index; this engine writes only its own. */
  readonly counters: readonly SharedArrayBuffer[];
  readonly router: RouterHandles;
  /** What the sites' policy modules make policies with. */
  readonly policies: PolicyFactories;
  readonly post: (message: FromEngine) => void;
}

/** The loop has several names, as its users see one side of it each. */
export interface Basics {
  readonly loop: Loop;
  readonly clock: Loop;
  readonly later: Loop;
  readonly watch: Loop;
  readonly counters: Counters;
  readonly count: Counters;
  readonly config: ClusterConfig;
  /** Index of the node, and of the engine. */
  readonly self: number;
  readonly index: number;
  readonly engineLog: EngineLog;
  readonly log: Log;
  readonly post: (message: FromEngine) => void;
}

export function basicsOf({ config, node, index, counters: all, post }: EngineOptions): Basics {
  const loop = new Loop(config.engine.spinUs);
  const counters = new Counters(all[index]);
  const engineLog = new EngineLog(index, loop, post);
  return {
    loop,
    clock: loop,
    later: loop,
    watch: loop,
    counters,
    count: counters,
    config,
    self: config.nodes.findIndex(({ name }) => name === node),
    index,
    engineLog,
    log: engineLog.say,
    post,
  };
}
