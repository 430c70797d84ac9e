/**
 * The main thread's end of an engine's message port.
 *
 *     starting --listening--> listening --stopped--> stopped
 *         \______________________|___________________/
 *                          port closed --> gone
 *
 * `ready` comes and goes independently while the engine lives. At most one query of each kind is on its way: an
 * engine that is stuck finds two messages when it wakes, however often it was asked.
 */
import assert from 'node:assert';
import { EventEmitter } from 'node:events';
import type { MessagePort } from 'node:worker_threads';
import type { Changeable } from '../../base/config/config.ts';
import type { AccessBatch } from '../../client/access-batch.ts';
import type { BoostMode } from '../../cluster/boost-switch.ts';
import type { FlowStatus } from '../../handoff/flow/flow-status.ts';
import type { Credentials } from '../../protocol/tls/contexts.ts';
import type { Explanation } from '../engine/explain.ts';
import type { EngineStatus, FromEngine, ToEngine } from '../engine/messages.ts';
import { AdminError, type AdminErrorCode } from './errors.ts';

/** How long a query may take before the engine counts as not answering. */
export const QUERY_TIMEOUT_MS = 1000;
/** How much longer than its deadline an engine may take to say that it stopped. */
export const STOP_GRACE_MS = 1000;

export type EngineState = 'starting' | 'listening' | 'stopped' | 'gone';
export type LogLevelOfEngine = Extract<FromEngine, { type: 'log' }>['level'];

/** What a query of each kind is answered with. */
export interface Answers {
  status: EngineStatus;
  flows: FlowStatus[];
}

/** An answer that is for one who asked alone. */
type Called = Extract<FromEngine, { type: 'taken' | 'explained' | 'purged' }>;

/** How long an engine may take to take policies, with their modules, or certificates. */
export const TAKING_TIMEOUT_MS = 5000;

export interface EngineClientOptions {
  /** The engine's number in its node, from 0. */
  readonly engine: number;
  readonly port: MessagePort;
  /** Makes the engine look at its port; called after every message posted. */
  readonly wake: () => void;
}

interface Events {
  /** Requests, in the engine's batches. */
  access: [batch: AccessBatch];
  log: [level: LogLevelOfEngine, message: string, fields: Record<string, unknown>];
  /** The engine wants a file read; to be answered with `digested`. */
  digest: [id: number, file: { readonly fd: number; readonly version: string; readonly sizeBytes: number }];
  /** `state` or `ready` changed. */
  state: [];
}

/** A query that was posted and not answered yet. `waiting` is null after its time ran out. */
interface Asked {
  readonly id: number;
  waiting: Waiting | null;
}

interface Waiting {
  readonly answer: Promise<Answers[keyof Answers]>;
  readonly resolve: (value: Answers[keyof Answers]) => void;
  readonly reject: (error: AdminError) => void;
}

/** One engine, as the main thread sees it. */
export class EngineClient extends EventEmitter<Events> {
  readonly engine: number;
  readonly #port: MessagePort;
  readonly #wake: () => void;
  readonly #asked: Record<keyof Answers, Asked | null> = { status: null, flows: null };
  /** The engine has stopped, and connections live on elsewhere through the node's router. */
  leftRoutes = false;
  /** What is called with the answer to a message, by the message's number; with null when the engine has ended. */
  readonly #calls = new Map<number, (answer: Called | null) => void>();
  #lastId = 0;
  #state: EngineState = 'starting';
  #ready = false;

  constructor(options: EngineClientOptions) {
    super();
    this.engine = options.engine;
    this.#port = options.port;
    this.#wake = options.wake;
    this.#port.on('message', (message: FromEngine) => this.#receive(message));
    this.#port.on('close', () => this.#gone());
  }

  get state(): EngineState {
    return this.#state;
  }

  /** The engine's last word on whether it can serve; false once it stopped or ended. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Why the engine is not ready, for people; null when it is. */
  get notReadyReason(): string | null {
    if (this.#ready) return null;
    const why = {
      starting: 'is starting',
      listening: 'listens but has not reported ready',
      stopped: 'has stopped',
      gone: 'has ended',
    }[this.#state];
    return `engine ${this.engine} ${why}`;
  }

  /**
   * Asks the engine. Rejects with QUERY_TIMEOUT after QUERY_TIMEOUT_MS, with ENGINE_GONE when the engine ended.
   * Callers who ask the same at the same time share one query, and its time.
   */
  query<What extends keyof Answers>(what: What): Promise<Answers[What]> {
    if (this.#state === 'gone') return Promise.reject(this.#goneError());
    const asked = this.#asked[what] ?? this.#ask(what);
    asked.waiting ??= this.#wait(what, asked);
    return asked.waiting.answer as Promise<Answers[What]>;
  }

  /**
   * Tells the engine to accept nothing more and to finish what is under way. Resolves to true when the engine
   * stopped, to false when it has not STOP_GRACE_MS after its deadline: it has to be terminated then.
   */
  stop(deadlineMs: number): Promise<boolean> {
    if (this.#ended()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (stopped: boolean) => {
        clearTimeout(timer);
        this.off('state', onState);
        resolve(stopped);
      };
      const onState = () => {
        if (this.#ended()) finish(true);
      };
      const timer = setTimeout(() => finish(false), deadlineMs + STOP_GRACE_MS);
      this.on('state', onState);
      this.#post({ type: 'stop', deadlineMs });
    });
  }

  /**
   * Gives the engine the policies of these sites, and the limits of clients. Rejects with POLICIES_REFUSED when it could
   * not take them, with QUERY_TIMEOUT when it did not say in time, and with ENGINE_GONE.
   */
  async usePolicies({ sites, clientLimits }: Changeable): Promise<void> {
    await this.#give('policies', 'POLICIES_REFUSED', (id) => ({ type: 'policies', id, sites, clientLimits }));
  }

  /** As `usePolicies`, with certificates. Rejects with CERTIFICATES_REFUSED. */
  async useCertificates(credentials: readonly Credentials[]): Promise<void> {
    const asked = (id: number): ToEngine => ({ type: 'certificates', id, credentials });
    await this.#give('certificates', 'CERTIFICATES_REFUSED', asked);
  }

  async #give(what: string, refused: AdminErrorCode, asked: (id: number) => ToEngine): Promise<void> {
    const answer = await this.#call(asked, TAKING_TIMEOUT_MS, `did not take the ${what}`);
    if (answer.type === 'taken' && answer.error !== null)
      throw new AdminError(refused, `engine ${this.engine}: ${answer.error}`);
  }

  /**
   * How a GET would be answered; a text: why it would be refused. Rejects with QUERY_TIMEOUT when the engine does not
   * say in time, and with ENGINE_GONE.
   */
  async explain(host: string, target: string): Promise<Explanation | string> {
    const asked = (id: number): ToEngine => ({ type: 'explain', id, host, target });
    const answer = await this.#call(asked, QUERY_TIMEOUT_MS, 'did not explain a request');
    assert(answer.type === 'explained', 'answers are told apart by their numbers');
    return answer.value;
  }

  /** Asks what is answered to nobody else. `failing`: what the engine has not done when its time is over. */
  #call(asked: (id: number) => ToEngine, timeoutMs: number, failing: string): Promise<Called> {
    if (this.#state === 'gone') return Promise.reject(this.#goneError());
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#calls.delete(id);
        const detail = `engine ${this.engine} ${failing} within ${timeoutMs} ms`;
        reject(new AdminError('QUERY_TIMEOUT', detail));
      }, timeoutMs);
      this.#calls.set(id, (answer) => {
        clearTimeout(timer);
        this.#calls.delete(id);
        if (answer === null) reject(this.#goneError());
        else resolve(answer);
      });
      this.#post(asked(id));
    });
  }

  /** New clients are to go to boosters, or not, or as the load says. */
  boost(mode: BoostMode): void {
    if (!this.#ended()) this.#post({ type: 'boost', mode });
  }

  /**
   * Has the engine forget stored responses of a site. Resolves to the number of resources; rejects with QUERY_TIMEOUT
   * when it did not say in time (it forgets them when it gets to it), and with ENGINE_GONE.
   */
  async purge(site: string, path: string): Promise<number> {
    const asked = (id: number): ToEngine => ({ type: 'purge', id, site, path });
    const answer = await this.#call(asked, QUERY_TIMEOUT_MS, 'did not purge its cache');
    assert(answer.type === 'purged', 'answers are told apart by their numbers');
    return answer.resources;
  }

  /** What `digest` asked for. */
  digested(id: number, digest: string | null): void {
    if (!this.#ended()) this.#post({ type: 'digest', id, digest });
  }

  /** Closes the port; `state` is `gone` soon after. */
  close(): void {
    this.#port.close();
  }

  #ask(what: keyof Answers): Asked {
    this.#lastId += 1;
    const asked: Asked = { id: this.#lastId, waiting: null };
    this.#asked[what] = asked;
    this.#post({ type: 'query', id: asked.id, what });
    return asked;
  }

  #wait(what: keyof Answers, asked: Asked): Waiting {
    let settle: Pick<Waiting, 'resolve' | 'reject'> | undefined;
    const answer = new Promise<Answers[keyof Answers]>((resolve, reject) => {
      const timer = setTimeout(() => {
        // The query stays asked: a late answer is as fresh as the moment it was given.
        asked.waiting = null;
        const detail = `engine ${this.engine} did not answer a ${what} query within ${QUERY_TIMEOUT_MS} ms`;
        reject(new AdminError('QUERY_TIMEOUT', detail));
      }, QUERY_TIMEOUT_MS);
      settle = {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
    return { answer, ...settle! };
  }

  #receive(message: FromEngine): void {
    switch (message.type) {
      case 'listening':
        if (this.#state === 'starting') this.#change('listening', this.#ready);
        break;
      case 'ready':
        if (!this.#ended()) this.#change(this.#state, message.ready);
        break;
      case 'stopped':
        this.leftRoutes = message.leftRoutes;
        if (!this.#ended()) this.#change('stopped', false);
        break;
      case 'access':
        Atomics.add(new Int32Array(message.batch.taken), 0, 1);
        this.emit('access', message.batch);
        break;
      case 'digest':
        this.emit('digest', message.id, message);
        break;
      case 'log':
        this.emit('log', message.level, message.message, message.fields);
        break;
      case 'taken':
      case 'explained':
      case 'purged':
        this.#calls.get(message.id)?.(message);
        break;
      case 'reply':
        this.#reply(message.id, message.value);
        break;
    }
  }

  #reply(id: number, value: Answers[keyof Answers]): void {
    for (const what of ['status', 'flows'] as const) {
      const asked = this.#asked[what];
      if (asked?.id !== id) continue;
      this.#asked[what] = null;
      asked.waiting?.resolve(value);
    }
  }

  #gone(): void {
    for (const finish of [...this.#calls.values()]) finish(null);
    for (const what of ['status', 'flows'] as const) {
      const waiting = this.#asked[what]?.waiting;
      this.#asked[what] = null;
      waiting?.reject(this.#goneError());
    }
    this.#change('gone', false);
  }

  #change(state: EngineState, ready: boolean): void {
    if (state === this.#state && ready === this.#ready) return;
    this.#state = state;
    this.#ready = ready;
    this.emit('state');
  }

  #ended(): boolean {
    return this.#state === 'stopped' || this.#state === 'gone';
  }

  #goneError(): AdminError {
    return new AdminError('ENGINE_GONE', `engine ${this.engine} has ended`);
  }

  #post(message: ToEngine): void {
    this.#port.postMessage(message);
    this.#wake();
  }
}
