/**
 * A hostile node: `node hostile-peer.js JOB`, run in the namespace of a node whose process is gone. It takes the links
 * of the nodes that dial it, dials the others, and says wild things until it has sent so many frames. A link that the
 * other end closes is opened again. Prints a HostileReport as JSON.
 */
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { hardwareAddress } from '../../../src/kernel/linux/interface.ts';
import { monotonicMs } from '../../../src/kernel/linux/monotonic.ts';
import { FrameError, SessionError } from '../../../src/protocol/backplane/errors.ts';
import { type Frame, FrameType, PROTOCOL_VERSION, ViewKind } from '../../../src/protocol/backplane/frames.ts';
import { Inbox } from '../../../src/protocol/backplane/inbox.ts';
import { clusterKey } from '../../../src/protocol/backplane/key.ts';
import { Outbox } from '../../../src/protocol/backplane/outbox.ts';
import { type Role, Session } from '../../../src/protocol/backplane/session.ts';
import { HostileFrames, type World } from './hostile-frames.ts';

export interface HostileJob {
  readonly node: string;
  readonly address: string;
  readonly key: string;
  /** Addresses of the nodes that come after this one. */
  readonly dial: readonly string[];
  readonly frames: number;
  readonly seed: number;
  readonly world: World;
}

export interface HostileReport {
  readonly frames: number;
  readonly links: number;
  /** Sent, and heard, by type. */
  readonly sent: Record<number, number>;
  readonly heard: Record<number, number>;
}

const PORT = 7946;
const BATCH = 16;
const REDIAL_MS = 60;

const job = JSON.parse(process.argv[2]) as HostileJob;
const key = clusterKey(job.key);
const mac = hardwareAddress('eth0')!;
let frames = 0;
let links = 0;
const sentByType: Record<number, number> = {};
const heardByType: Record<number, number> = {};

/** Speaks on a connection until it ends, or enough is said. */
async function speak(socket: Socket, role: Role): Promise<void> {
  const session = new Session({ role, key });
  const outbox = new Outbox(session);
  const hostile = new HostileFrames(role, job.world, job.seed + links++);
  let greeted = false;
  let over = false;
  const inbox = new Inbox(session, (frame) => {
    heardByType[frame.type] = (heardByType[frame.type] ?? 0) + 1;
    hostile.heard(frame);
    // As the other one sees the cluster, and all sites are served here: so it hands requests over.
    if (frame.type === FrameType.VIEW)
      send({
        ...frame,
        sections: frame.sections.map((one) => ({ ...one, serves: one.kind === ViewKind.SITE })),
      });
  });
  const flush = (): boolean => {
    outbox.flush();
    if (outbox.pendingBytes === 0) return true;
    const goesOn = socket.write(Buffer.from(outbox.pending()));
    outbox.consume(outbox.pendingBytes);
    return goesOn;
  };
  const send = (frame: Frame): void => {
    if (!outbox.push(frame)) return;
    frames++;
    sentByType[frame.type] = (sentByType[frame.type] ?? 0) + 1;
  };
  socket.on('data', (bytes) => {
    try {
      inbox.receive(bytes);
      if (session.state === 'OPEN' && !greeted) {
        greeted = true;
        send({
          type: FrameType.HELLO,
          protocol: PROTOCOL_VERSION,
          node: job.node,
          engine: 0,
          engines: 1,
          mac,
          clockMs: monotonicMs() >>> 0,
          bootId: Buffer.alloc(8, 1),
        });
      }
      flush();
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      socket.destroy();
    }
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    over = true;
  });
  if (role === 'dial') socket.once('connect', flush);
  while (!over && frames < job.frames) {
    if (!greeted) {
      await delay(1);
      continue;
    }
    try {
      for (let i = 0; i < BATCH && session.state === 'OPEN'; i++) send(hostile.next());
    } catch (error) {
      // Too wild to be encoded.
      if (!(error instanceof FrameError)) throw error;
    }
    if (session.state !== 'OPEN') break;
    const goesOn = flush();
    if (goesOn) await new Promise((done) => setImmediate(done));
    else await Promise.race([new Promise((done) => socket.once('drain', done)), delay(50)]);
  }
  socket.destroy();
}

async function dial(address: string): Promise<void> {
  while (frames < job.frames) {
    await speak(connect({ host: address, port: PORT, localAddress: job.address, noDelay: true }), 'dial');
    await delay(REDIAL_MS);
  }
}

const server = createServer((socket) => void speak(socket, 'accept'));
server.listen(PORT, job.address);
await Promise.all(job.dial.map(dial));
server.close();
const report: HostileReport = { frames, links, sent: sentByType, heard: heardByType };
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);
