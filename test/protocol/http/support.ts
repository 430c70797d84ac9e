/** What the HTTP tests share. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { FileState } from '../../../src/kernel/linux/file-state.ts';
import type { DigestFile } from '../../../src/protocol/http/file-cache.ts';
import type { Response } from '../../../src/protocol/http/reply.ts';
import { digestOf } from '../../../src/protocol/http/representation.ts';
import {
  DEFAULT_HEAD_LIMITS,
  HeadError,
  parseRequestHead,
  type RequestHead,
} from '../../../src/protocol/http/request.ts';

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function parse(text: string): RequestHead | HeadError | null {
  const buf = bytesOf(text);
  return parseRequestHead(buf, 0, buf.length, DEFAULT_HEAD_LIMITS);
}

/** Parses a head that has to be good. */
export function parsed(text: string): RequestHead {
  const head = parse(text);
  assert.ok(
    head !== null && !(head instanceof HeadError),
    `${JSON.stringify(text)}: ${JSON.stringify(head)}`,
  );
  return head;
}

/** The status that a bad head is refused with. */
export function refused(text: string): number {
  const head = parse(text);
  assert.ok(head instanceof HeadError, `accepted: ${JSON.stringify(text)}`);
  return head.status;
}

/** Reads a large file on the spot. */
export const digestNow: DigestFile = ({ fd, sizeBytes }, done) => {
  const bytes = Buffer.alloc(sizeBytes);
  assert.equal(readSync(fd, bytes, 0, sizeBytes, 0), sizeBytes);
  done(digestOf(createHash('sha256').update(bytes)));
};

/** Waits until whatever changes a file shows in its times: a few milliseconds. */
export function settle(path: string): void {
  const fd = openSync(path, 'r');
  while (!new FileState(fd).settled);
  closeSync(fd);
}

export interface Received {
  status: number;
  fields: Map<string, string>;
  body: Buffer;
}

/** Puts the parts of a response together as a client would see them, and checks its lengths. */
export function receive(response: Response): Received {
  const pieces = response.parts.map((part) => {
    if ('bytes' in part) return part.bytes;
    const piece = Buffer.alloc(part.length);
    assert.equal(readSync(part.fd, piece, 0, part.length, part.offset), part.length);
    return piece;
  });
  const all = Buffer.concat(pieces);
  assert.equal(all.length, response.lengthBytes);
  const headEnd = all.indexOf('\r\n\r\n') + 4;
  const [statusLine, ...lines] = all.toString('latin1', 0, headEnd - 4).split('\r\n');
  const body = all.subarray(headEnd);
  assert.equal(body.length, response.bodyBytes);
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(': ');
    const name = line.substring(0, colon).toLowerCase();
    assert.ok(colon > 0 && !fields.has(name), `field line ${line}`);
    fields.set(name, line.substring(colon + 2));
  }
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
  assert.equal(status, response.status);
  return { status, fields, body };
}
