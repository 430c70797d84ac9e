/**
 * Reads HTTP/1.1 responses from a stream of bytes, in any pieces, and checks their bodies against ramps. Small and
 * independent of src/http on purpose: it is what the server is checked with (RFC 9112 sections 6 and 7).
 */
import { RampCheck } from '../../../src/tools/lab/ramp.ts';

export interface Expected {
  readonly path: string;
  readonly size: number;
}

export interface Answer {
  readonly status: number;
  readonly node: string;
  readonly mechanism: string;
  readonly bodyBytes: number;
  /** Null when the answer is 200 and every byte of it right. */
  readonly problem: string | null;
}

const HEAD_END = Buffer.from('\r\n\r\n');
const MAX_HEAD_BYTES = 16 * 1024;
const NONE = Buffer.alloc(0);

type State = 'head' | 'length' | 'chunk-size' | 'chunk' | 'chunk-end' | 'trailer' | 'until-close';

export class ResponseReader {
  readonly #expected: () => Expected | undefined;
  readonly #done: (answer: Answer) => void;
  #state: State = 'head';
  #held: Buffer = NONE;
  #left = 0;
  #check = new RampCheck('', 0);
  #status = 0;
  #fields = new Map<string, string>();

  /** `expected` is asked at the head of each response; `done` is told at its end. */
  constructor(expected: () => Expected | undefined, done: (answer: Answer) => void) {
    this.#expected = expected;
    this.#done = done;
  }

  /** Where it stands, in words. */
  get progress(): string {
    return this.#state === 'head'
      ? `${this.#held.length} bytes of a head`
      : `${this.#state} at ${this.#check.offset}${this.#check.wrongAt < 0 ? '' : `, wrong byte at ${this.#check.wrongAt}`}`;
  }

  /** Throws when the bytes are not HTTP. */
  push(bytes: Buffer): void {
    let rest: Buffer = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    this.#held = NONE;
    while (rest.length > 0) {
      const used = this.#step(rest);
      if (used === 0) {
        this.#held = Buffer.from(rest);
        return;
      }
      rest = rest.subarray(used);
    }
  }

  /** The connection ended: that completes a body without length. */
  end(): void {
    if (this.#state === 'until-close') this.#finish();
  }

  /** Takes what it can from the front; 0 when that is not enough for a step. */
  #step(bytes: Buffer): number {
    switch (this.#state) {
      case 'head': {
        const at = bytes.indexOf(HEAD_END);
        if (at < 0 && bytes.length > MAX_HEAD_BYTES) throw new Error('no end of a response head');
        if (at < 0) return 0;
        this.#head(bytes.toString('latin1', 0, at));
        return at + HEAD_END.length;
      }
      case 'chunk-size':
      case 'trailer': {
        const at = bytes.indexOf('\r\n');
        if (at < 0) return 0;
        const line = bytes.toString('latin1', 0, at);
        if (this.#state === 'chunk-size') this.#chunk(line);
        else if (line === '') this.#finish();
        return at + 2;
      }
      case 'chunk-end':
        if (bytes.length < 2) return 0;
        if (bytes[0] !== 13 || bytes[1] !== 10) throw new Error('a chunk does not end with CRLF');
        this.#state = 'chunk-size';
        return 2;
      default:
        return this.#body(bytes);
    }
  }

  #head(text: string): void {
    const [line, ...fields] = text.split('\r\n');
    const parts = /^HTTP\/1\.1 (\d{3}) /.exec(line);
    if (parts === null) throw new Error(`not a status line: ${JSON.stringify(line.slice(0, 80))}`);
    this.#status = Number(parts[1]);
    if (this.#status === 100) return;
    const expected = this.#expected();
    if (expected === undefined) throw new Error(`an answer to nothing: ${line}`);
    this.#fields = new Map(
      fields.map((field) => {
        const colon = field.indexOf(':');
        return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
      }),
    );
    this.#check = new RampCheck(expected.path, expected.size);
    const length = this.#fields.get('content-length');
    if (this.#fields.get('transfer-encoding') === 'chunked') this.#state = 'chunk-size';
    else if (length === undefined) this.#state = 'until-close';
    else {
      this.#left = Number(length);
      this.#state = 'length';
      if (this.#left === 0) this.#finish();
    }
  }

  #chunk(line: string): void {
    if (!/^[0-9a-fA-F]+$/.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`);
    this.#left = Number.parseInt(line, 16);
    this.#state = this.#left === 0 ? 'trailer' : 'chunk';
  }

  #body(bytes: Buffer): number {
    const part = this.#state === 'until-close' ? bytes : bytes.subarray(0, this.#left);
    this.#check.push(part);
    this.#left -= part.length;
    if (this.#state === 'length' && this.#left === 0) this.#finish();
    else if (this.#state === 'chunk' && this.#left === 0) this.#state = 'chunk-end';
    return part.length;
  }

  #finish(): void {
    const check = this.#check;
    this.#state = 'head';
    const problem =
      this.#status !== 200
        ? `status ${this.#status}`
        : check.wrongAt >= 0
          ? `wrong byte at ${check.wrongAt}`
          : check.complete
            ? null
            : `only ${check.offset} bytes`;
    this.#done({
      status: this.#status,
      node: this.#fields.get('x-served-by') ?? '?',
      mechanism: /desc=([a-z]+)/.exec(this.#fields.get('server-timing') ?? '')?.[1] ?? '?',
      bodyBytes: check.offset,
      problem,
    });
  }
}
