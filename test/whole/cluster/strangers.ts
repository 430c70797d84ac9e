/**
 * Connections to a backplane port that say nothing, or a greeting and no more: `node strangers.js JOB`. Prints how many
 * were still open at the end, and how many were answered.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Session } from '../../../src/protocol/backplane/session.ts';

export interface StrangersJob {
  readonly address: string;
  readonly connections: number;
  /** A greeting by another key. */
  readonly greets: boolean;
  readonly holdMs: number;
}

export interface StrangersReport {
  readonly open: number;
  readonly answered: number;
}

const job = JSON.parse(process.argv[2]) as StrangersJob;
let open = 0;
let answered = 0;
for (let i = 0; i < job.connections; i++) {
  const socket = connect({ host: job.address, port: 7946 });
  socket.once('connect', () => {
    open++;
    socket.once('close', () => open--);
    if (job.greets) socket.write(new Session({ role: 'dial', key: Buffer.alloc(32, i) }).takeHandshake()!);
  });
  socket.once('data', () => answered++);
  socket.on('error', () => {});
}
await delay(job.holdMs);
process.stdout.write(JSON.stringify({ open, answered } satisfies StrangersReport));
process.exit(0);
