/** Nanoseconds per request head and per hot response: `node dist/bench/micro/http-head.js`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Content } from '../../src/protocol/http/content.ts';
import { HeadCache } from '../../src/protocol/http/head-cache.ts';
import { DEFAULT_HEAD_LIMITS, HeadError, parseRequestHead } from '../../src/protocol/http/request.ts';

const ROUNDS = 5;
const CALLS = 400_000;

const HEADS: Record<string, string> = {
  wrk: 'GET /1k.txt HTTP/1.1\r\nHost: 10.77.0.101\r\n\r\n',
  curl: 'GET /1k.txt HTTP/1.1\r\nHost: 10.77.0.101\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n',
  browser:
    'GET /1k.txt HTTP/1.1\r\nHost: www.example.org\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n' +
    'sec-ch-ua: "Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"\r\nsec-ch-ua-mobile: ?0\r\n' +
    'sec-ch-ua-platform: "Linux"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) ' +
    'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml' +
    '+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate' +
    '\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n' +
    'Accept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\r\n',
};

/** Best of several rounds, in nanoseconds a call. */
function measure(name: string, call: () => void): void {
  let bestNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) call();
    bestNs = Math.min(bestNs, Number(process.hrtime.bigint() - start) / CALLS);
  }
  console.log(JSON.stringify({ name, value: Math.round(bestNs), unit: 'ns' }));
}

const root = mkdtempSync(join(tmpdir(), 'baton-bench-'));
writeFileSync(join(root, '1k.txt'), Buffer.alloc(1024, 'x'));
const content = new Content({ root });
const options = { close: false, extraFields: '' };
const extra = { close: false, extraFields: 'X-Served-By: a\r\n' };
for (const [name, text] of Object.entries(HEADS)) {
  const bytes = Buffer.from(text, 'latin1');
  const cache = new HeadCache(DEFAULT_HEAD_LIMITS);
  const head = parseRequestHead(bytes, 0, bytes.length, DEFAULT_HEAD_LIMITS);
  if (head === null || head instanceof HeadError) throw new Error(`the ${name} head is refused`);
  measure(`parse ${name} (${bytes.length} B)`, () =>
    parseRequestHead(bytes, 0, bytes.length, DEFAULT_HEAD_LIMITS),
  );
  measure(`cached ${name}`, () => cache.parse(bytes, 0, bytes.length));
  const nowMs = Date.now();
  measure(`respond ${name}`, () => content.respond(head, nowMs, options));
  measure(`respond ${name} with extra fields`, () => content.respond(head, nowMs, extra));
}
content.close();
rmSync(root, { recursive: true });
