/** Who is told how a response came to be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../src/base/address.ts';
import { extraFieldsOf } from '../../src/serve/extra-fields.ts';

const TIMING = 'Server-Timing: handoff;desc=relay;dur=1.500\r\n';
const client = (address: string | null) => ({
  clientAddress: address === null ? null : parseAddress(address),
  isSecure: false,
});

const told = (serverTiming: boolean | readonly string[], address: string | null, servedBy = false): string =>
  extraFieldsOf({ serverTiming, servedBy }, 'b')('relay', 1500, client(address));

test('nobody, or everybody', () => {
  assert.equal(told(false, '10.1.1.1'), '');
  assert.equal(told(true, '10.1.1.1'), TIMING);
  assert.equal(told(true, null, true), `X-Served-By: b\r\n${TIMING}`);
  assert.equal(told(false, null, true), 'X-Served-By: b\r\n');
});

test('clients of some networks, whichever node answers; who is not known is not among them', () => {
  const networks = ['10.0.0.0/8', '2001:db8::/32'];
  for (const address of ['10.1.1.1', '2001:db8::7']) assert.equal(told(networks, address), TIMING);
  for (const address of ['11.1.1.1', '2001:db9::7', null]) assert.equal(told(networks, address), '');
  assert.equal(
    extraFieldsOf({ serverTiming: networks, servedBy: true }, 'b')('relay', 1, null),
    'X-Served-By: b\r\n',
  );
  assert.equal(told([], '10.1.1.1'), '');
});
