/**
 * Field lines (RFC 9112 section 5) as both request and response heads have them. The scan is strict: CRLF and
 * nothing else ends a line, no whitespace stands before the colon, no folding, no control bytes.
 */

import assert from 'node:assert';

export const CR = 13;
export const LF = 10;
export const SPACE = 32;
export const TAB = 9;
const COLON = 58;

/** A byte that a token may hold (RFC 9110 5.6.2). */
export const TOKEN = 1;
/** A byte that a field value may hold: visible ASCII, space, tab, obs-text (RFC 9110 5.5). */
export const VALUE = 2;
/** A byte of a request target: visible ASCII without '#', which begins a fragment and is never sent. */
export const TARGET = 4;

/** What each byte may be part of: a sum of TOKEN, VALUE and TARGET. */
export const KIND = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  let kind = 0;
  if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte))) kind |= TOKEN;
  if (byte === TAB || (byte >= SPACE && byte !== 127)) kind |= VALUE;
  if (byte > SPACE && byte < 127 && byte !== 35) kind |= TARGET;
  KIND[byte] = kind;
}

/** Why a head is refused: the status to answer with, and a short reason for the log. */
export class HeadError {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string) {
    this.status = status;
    this.reason = reason;
  }
}

/** How large a head may be. */
export interface HeadLimits {
  /** Bytes of the whole head, empty lines before it included. */
  readonly headBytes: number;
  /** Bytes of the request target. */
  readonly targetBytes: number;
  /** Field lines. */
  readonly fields: number;
}

export const DEFAULT_HEAD_LIMITS: HeadLimits = { headBytes: 16_384, targetBytes: 8_192, fields: 100 };

/** Results of `scanFields` other than a position. */
export const INCOMPLETE = -1;
export const TOO_MANY_FIELDS = -2;
export const BARE_LF = -3;
export const BARE_CR = -4;
export const FOLDED = -5;
export const BAD_NAME = -6;
export const BAD_VALUE = -7;

const SCAN_REASONS: Readonly<Record<number, string>> = {
  [TOO_MANY_FIELDS]: 'too many fields',
  [BARE_LF]: 'line ends in LF without CR',
  [BARE_CR]: 'CR without LF',
  [FOLDED]: 'folded field line',
  [BAD_NAME]: 'malformed field name',
  [BAD_VALUE]: 'control byte in field value',
};

/** What a negative result of `scanFields` means, in words. */
export function scanReason(result: number): string {
  return SCAN_REASONS[result] ?? 'malformed field';
}

/**
 * Scans field lines in `buf` from `at` up to and including the empty line. Pushes four offsets for each field
 * (start and end of its name and of its trimmed value), relative to `base`. Returns the position after the empty
 * line, or one of the negative results above. The same bytes give the same result wherever `end` cut them.
 */
export function scanFields(
  buf: Buffer,
  at: number,
  end: number,
  base: number,
  maxFields: number,
  offsets: number[],
): number {
  for (;;) {
    if (at >= end) return INCOMPLETE;
    const nameStart = at;
    while (at < end && (KIND[buf[at]] & TOKEN) !== 0) at++;
    if (at >= end) return INCOMPLETE;
    if (buf[at] !== COLON || at === nameStart) {
      if (at > nameStart) return buf[at] === LF ? BARE_LF : BAD_NAME;
      const byte = buf[at];
      if (byte === CR) {
        if (at + 1 >= end) return INCOMPLETE;
        return buf[at + 1] === LF ? at + 2 : BARE_CR;
      }
      if (byte === LF) return BARE_LF;
      return byte === SPACE || byte === TAB ? FOLDED : BAD_NAME;
    }
    const nameEnd = at++;
    while (at < end && (buf[at] === SPACE || buf[at] === TAB)) at++;
    const valueStart = at;
    while (at < end && (KIND[buf[at]] & VALUE) !== 0) at++;
    if (at >= end) return INCOMPLETE;
    if (buf[at] !== CR) return buf[at] === LF ? BARE_LF : BAD_VALUE;
    if (at + 1 >= end) return INCOMPLETE;
    if (buf[at + 1] !== LF) return BARE_CR;
    let valueEnd = at;
    while (valueEnd > valueStart && (buf[valueEnd - 1] === SPACE || buf[valueEnd - 1] === TAB)) valueEnd--;
    if (offsets.length >= 4 * maxFields) return TOO_MANY_FIELDS;
    offsets.push(nameStart - base, nameEnd - base, valueStart - base, valueEnd - base);
    at += 2;
  }
}

/** The bytes as a string, one character a byte. Node's own method without the argument checks of toString. */
export function latin1(buf: Buffer, start: number, end: number): string {
  return (buf as unknown as { latin1Slice(start: number, end: number): string }).latin1Slice(start, end);
}

/** Whether `text` has the lower-case field name `lower` at `at`, in any case. Lengths are the caller's matter. */
export function nameAt(text: string, at: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++) {
    if ((text.charCodeAt(at + i) | 0x20) !== lower.charCodeAt(i)) return false;
  }
  return true;
}

/** Field names in lower case, by their lengths. */
export type Names = readonly (readonly string[] | undefined)[];

export function namesOf(all: readonly string[]): Names {
  const names: string[][] = [];
  for (const name of all) {
    names[name.length] ??= [];
    names[name.length].push(name);
  }
  return names;
}

/** Bytes between a name and its value, and of a line's end: both are two. */
const SEPARATOR_LENGTH = ': '.length;
const CRLF_LENGTH = '\r\n'.length;

/** The fields of one head, in the order received. Immutable; strings are cut out only when asked for. */
export class Fields {
  readonly #text: string;
  readonly #offsets: readonly number[];

  /** `text`: the head, one character a byte; `offsets`: what `scanFields` gave for it. */
  constructor(text: string, offsets: readonly number[]) {
    this.#text = text;
    this.#offsets = offsets;
  }

  /** How many field lines there are. */
  get size(): number {
    return this.#offsets.length / 4;
  }

  /** The value of a field (`name` in lower case); several lines are joined with ", " (RFC 9110 5.3). */
  get(name: string): string | undefined {
    let value: string | undefined;
    for (let i = 0; i < this.#offsets.length; i += 4) {
      const start = this.#offsets[i];
      if (this.#offsets[i + 1] - start !== name.length || !nameAt(this.#text, start, name)) continue;
      const next = this.value(i / 4);
      value = value === undefined ? next : `${value}, ${next}`;
    }
    return value;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  /** Whether the name of field line `index` is one of these. */
  isNamed(index: number, names: Names): boolean {
    const start = this.#offsets[4 * index];
    const those = names[this.#offsets[4 * index + 1] - start];
    if (those === undefined) return false;
    for (let i = 0; i < those.length; i++) if (nameAt(this.#text, start, those[i])) return true;
    return false;
  }

  /** Field lines [from, to), each with CRLF; without white space around values but for the one before. */
  lines(from: number, to: number): string {
    if (from >= to) return '';
    if (this.#arePlain(from, to))
      return this.#text.substring(this.#offsets[4 * from], this.#offsets[4 * to - 1] + CRLF_LENGTH);
    let lines = '';
    for (let i = from; i < to; i++) lines += `${this.name(i)}: ${this.value(i)}\r\n`;
    return lines;
  }

  /** Whether the fields were sent exactly as `lines` would write them. */
  #arePlain(from: number, to: number): boolean {
    const offsets = this.#offsets;
    for (let at = 4 * from; at < 4 * to; at += 4) {
      const nameEnd = offsets[at + 1];
      if (offsets[at + 2] - nameEnd !== SEPARATOR_LENGTH) return false;
      if (this.#text.charCodeAt(nameEnd + 1) !== SPACE) return false;
      if (this.#text.charCodeAt(offsets[at + 3]) !== CR) return false;
    }
    return true;
  }

  /** The name of field line `index`, as it was sent. */
  name(index: number): string {
    return this.#text.substring(this.#offsets[4 * index], this.#offsets[4 * index + 1]);
  }

  /** The value of field line `index`, without the whitespace around it. */
  value(index: number): string {
    return this.#text.substring(this.#offsets[4 * index + 2], this.#offsets[4 * index + 3]);
  }
}

/** The fields of lines that were written here, each with CRLF. */
export function fieldsOf(lines: string): Fields {
  const bytes = Buffer.from(`${lines}\r\n`, 'latin1');
  const offsets: number[] = [];
  const end = scanFields(bytes, 0, bytes.length, 0, bytes.length, offsets);
  assert(end === bytes.length, 'they are well-formed');
  return new Fields(`${lines}\r\n`, offsets);
}

/** The members of a comma-separated list of tokens, in lower case, empty ones left out (RFC 9110 5.6.1). */
export function listTokens(value: string): string[] {
  const tokens: string[] = [];
  for (const part of value.split(',')) {
    const token = part.trim().toLowerCase();
    if (token !== '') tokens.push(token);
  }
  return tokens;
}

const MAX_LENGTH_DIGITS = 15;

/** A Content-Length value as a number of bytes, or -1 when it is anything but 1 to 15 digits (RFC 9110 8.6). */
export function parseContentLength(value: string): number {
  if (value.length === 0 || value.length > MAX_LENGTH_DIGITS) return -1;
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}
