/** The traces of RFC 8448, section 3: what the traffic secrets of its connection make of its records. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allocate } from '../../../src/kernel/linux/memory.ts';
import { Alert, alertContent } from '../../../src/protocol/tls/alerts.ts';
import {
  ContentType,
  contentAt,
  MAX_SEALED_BYTES,
  Opener,
  Sealer,
} from '../../../src/protocol/tls/records.ts';
import { suiteOf } from '../../../src/protocol/tls/suites.ts';
import { type TrafficKeys, trafficKeys } from '../../../src/protocol/tls/traffic.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');
const suite = suiteOf(0x1301)!;

const CLIENT = {
  secret: hex('9e40646ce79a7f9dc05af8889bce6552 875afa0b06df0087f792ebb7c17504a5'),
  key: hex('17422dda596ed5d9acd890e3c63f5051'),
  iv: hex('5b78923dee08579033e523d9'),
};
const SERVER = {
  secret: hex('a11af9f05531f856ad47116b45a95032 8204b4f44bfb6b3a4b4f1f3fcb631643'),
  key: hex('9f02283b6c9c07efc26bb9f2ac92e356'),
  iv: hex('cf782b88dd83549aadf1e984'),
};
const DATA = Buffer.from(Array.from({ length: 50 }, (_, at) => at));

/** Number 0 of the server is its ticket. */
const RECORDS = [
  {
    half: CLIENT,
    number: 0,
    type: ContentType.APPLICATION_DATA,
    content: DATA,
    record: hex(`1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a
      20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4`),
  },
  {
    half: SERVER,
    number: 1,
    type: ContentType.APPLICATION_DATA,
    content: DATA,
    record: hex(`17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb
      501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d`),
  },
  {
    half: CLIENT,
    number: 1,
    type: ContentType.ALERT,
    content: alertContent(Alert.CLOSE_NOTIFY),
    record: hex('1703030013c9872760655666b74d7ff1153efd6db6d0b0e3'),
  },
  {
    half: SERVER,
    number: 2,
    type: ContentType.ALERT,
    content: alertContent(Alert.CLOSE_NOTIFY),
    record: hex('1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9'),
  },
];

const keysOf = ({ secret }: typeof CLIENT, number: number): TrafficKeys =>
  trafficKeys({ suite, secret, number });

test('keys follow from the secrets', () => {
  for (const half of [CLIENT, SERVER]) {
    const { key, iv } = keysOf(half, 0);
    assert.deepEqual([key, iv], [half.key, half.iv]);
  }
});

test('records are sealed and opened as in the trace', () => {
  for (const { half, number, type, content, record } of RECORDS) {
    const memory = allocate(MAX_SEALED_BYTES);
    content.copy(memory.bytes, contentAt(suite));
    const sealer = new Sealer(keysOf(half, number));
    const bytes = sealer.seal(memory, 0, content.length, type);
    assert.deepEqual(memory.bytes.subarray(0, bytes), record);
    const copy = Buffer.from(record);
    assert.deepEqual(new Opener(keysOf(half, number)).open(copy, 0, copy.length), { type, content });
  }
});
