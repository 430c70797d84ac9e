/** What RFC 9110 and 9112 demand of an origin server, a gateway and a recipient: one MUST a test, by its section. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  type ForwardedHead,
  forwardRequestHead,
  forwardResponseHead,
} from '../../../src/protocol/http/forward.ts';
import { clientFields } from '../../../src/protocol/http/forwarded.ts';
import { DEFAULT_HEAD_LIMITS, HeadError } from '../../../src/protocol/http/request.ts';
import { parseResponseHead, type ResponseHead } from '../../../src/protocol/http/response.ts';
import { bytesOf, parsed } from './support.ts';

const TESTS = fileURLToPath(new URL('../../../../test/', import.meta.url));
const RULES = { trusts: () => false, xForwarded: false, forwarded: false, xRealIp: false };

/** The requirements of one document. */
export function requirementsOf(document: string) {
  const must = (section: string, what: string, check: () => void) => {
    test(`${document} ${section}: ${what}`, check);
  };
  /** Another file has the test: it is there, by that name. */
  const held = (section: string, what: string, file: string, name: string) =>
    must(section, what, () => assert.ok(readFileSync(join(TESTS, file), 'utf8').includes(name), name));
  return { must, held };
}

/** The head of an upstream's response, or the status that the client gets in its place. */
export function response(text: string, method = 'GET'): ResponseHead {
  const head = judged(text, method);
  assert.ok(!(head instanceof HeadError), text);
  return head;
}

export function replaced(text: string, method = 'GET'): number {
  const head = judged(text, method);
  assert.ok(head instanceof HeadError, text);
  return head.status;
}

function judged(text: string, method: string): ResponseHead | HeadError {
  const bytes = bytesOf(text);
  const head = parseResponseHead(bytes, 0, bytes.length, DEFAULT_HEAD_LIMITS, method);
  assert.ok(head !== null, text);
  return head;
}

/** A response as a client gets it. */
export function forwarded(
  text: string,
  method = 'GET',
  clientMinor: 0 | 1 = 1,
): ForwardedHead & { text: string } {
  const head = forwardResponseHead(response(text, method), { clientMinor, close: false, extraFields: '' }, 0);
  return { ...head, text: head.text };
}

/** A request as an upstream gets it. */
export function asked(text: string, framing: number | 'chunked' | 'none' = 'none'): string {
  const head = parsed(text);
  return forwardRequestHead(head, framing, clientFields(head, null, false, RULES)).toString('latin1');
}

/** A request's head. */
export function head(line: string, fields = ''): string {
  return `${line}\r\nHost: a\r\n${fields}\r\n`;
}
