/**
 * Clients whose request is answered before they have sent all of its body, run as `node early.js ADDRESS CASES`, with
 * the cases as JSON. Each sends some, reads the answer, sends the rest, and then another request. Prints what they got
 * as JSON.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';

const FIRST_BYTES = 100 * 1024;
const CHUNKED_BYTES = 1024 * 1024;
const PIECE_BYTES = 16 * 1024;

export interface EarlyCase {
  readonly host: string;
  /** Of the body; `chunked`: 1 MiB in chunks. */
  readonly length: number | 'chunked';
}

export interface EarlyReport {
  /** Of the early answer. */
  readonly status: number;
  readonly close: boolean;
  /** Of the next request's answer; 0: there was none. */
  readonly nextStatus: number;
  /** The connection was reset. */
  readonly reset: boolean;
}

async function run(address: string, { host, length }: EarlyCase): Promise<EarlyReport> {
  const isChunked = length === 'chunked';
  const total = isChunked ? CHUNKED_BYTES : length;
  const socket = connect(80, address);
  let text = '';
  let reset = false;
  let ended = false;
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
  });
  socket.on('error', () => {
    reset = true;
  });
  socket.on('close', () => {
    ended = true;
  });
  await once(socket, 'connect');
  const answers = () => text.split('HTTP/1.1 ').slice(1);
  const answered = async (count: number) => {
    while (!ended && !(answers().length >= count && /\r\n\r\n./s.test(answers()[count - 1])))
      await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const piece = (bytes: number) => {
    const data = 'x'.repeat(bytes);
    return isChunked ? `${bytes.toString(16)}\r\n${data}\r\n` : data;
  };
  const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${total}`;
  socket.write(`POST /early/1 HTTP/1.1\r\nHost: ${host}\r\n${framing}\r\n\r\n`);
  for (let at = 0; at < total; at += PIECE_BYTES) {
    if (at >= FIRST_BYTES && at < FIRST_BYTES + PIECE_BYTES) await answered(1);
    socket.write(piece(Math.min(PIECE_BYTES, total - at)));
  }
  if (isChunked) socket.write('0\r\n\r\n');
  const close = /\r\nConnection: close\r\n/i.test(text);
  if (!close) socket.write(`GET /length/5 HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  socket.end();
  while (!ended) await new Promise((resolve) => setTimeout(resolve, 5));
  const [first, next] = answers().map((answer) => Number(answer.slice(0, 3)));
  return { status: first ?? 0, close, nextStatus: next ?? 0, reset };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , address, cases] = process.argv;
  const reports = (JSON.parse(cases) as EarlyCase[]).map((one) => run(address, one));
  process.stdout.write(JSON.stringify(await Promise.all(reports)));
}
