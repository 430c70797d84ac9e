/** Which fields go on between client and upstream: as a plain reading of RFC 9110 7.6.1 would have it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fields, scanFields } from '../../../src/protocol/http/fields.ts';
import { endToEndLines } from '../../../src/protocol/http/forward.ts';
import { bytesOf } from './support.ts';

const HOPS = [
  ...['connection', 'close', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'upgrade', 'http2-settings', 'transfer-encoding', 'content-length'],
];
const OTHERS = ['Content-Type', 'X-Hop', 'ETag', 'Te-', 'Datf', 'Trailers', 'A', 'Content_Length', 'Clos~'];

type Line = readonly [name: string, before: string, value: string, after: string];

function fieldsOf(lines: readonly Line[]): Fields {
  const text = `${lines.map(([name, ...rest]) => `${name}:${rest.join('')}\r\n`).join('')}\r\n`;
  const bytes = bytesOf(text);
  const offsets: number[] = [];
  assert.equal(scanFields(bytes, 0, bytes.length, 0, 100, offsets), bytes.length);
  return new Fields(text, offsets);
}

const mixedCase = (name: string) =>
  fc
    .array(fc.boolean(), { minLength: name.length, maxLength: name.length })
    .map((upper) => [...name].map((c, i) => (upper[i] ? c.toUpperCase() : c.toLowerCase())).join(''));
const anyName = fc.constantFrom(...HOPS, ...OTHERS, ...OTHERS).chain(mixedCase);
const space = fc.constantFrom('', ' ', ' ', ' ', '\t', '  ');
const anyLine: fc.Arbitrary<Line> = fc.tuple(
  anyName,
  space,
  fc.oneof(
    fc.constantFrom('', 'x', 'a b', 'keep-alive', 'close', 'x-hop, Close', 'ETag', '\u00e9: \u00ff'),
    anyName,
  ),
  space,
);

test('what goes on is what is not for this connection only, each line as it came', () => {
  const drops = (name: string) => name === 'a';
  fc.assert(
    fc.property(fc.array(anyLine, { maxLength: 8 }), fc.boolean(), (lines, hasDrops) => {
      const named = lines
        .filter(([name]) => name.toLowerCase() === 'connection')
        .flatMap(([, , value]) => value.split(',').map((option) => option.trim().toLowerCase()));
      const expected = lines
        .filter(([name]) => ![...HOPS, ...named].includes(name.toLowerCase()))
        .filter(([name]) => !(hasDrops && drops(name.toLowerCase())))
        .map(([name, , value]) => `${name}: ${value.trim()}\r\n`);
      assert.equal(endToEndLines(fieldsOf(lines), hasDrops ? drops : null), expected.join(''));
    }),
  );
});
