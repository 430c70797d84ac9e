/** Who is told how a response came to be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../src/base/address.ts';
import { extraFieldsOf, isToldOf } from '../../src/serve/extra-fields.ts';

const TIMING = 'Server-Timing: handoff;desc=relay;dur=1.500\r\n';
const client = (address: string | null) => ({
  clientAddress: address === null ? null : parseAddress(address),
  isSecure: false,
});

const told = (serverTiming: boolean | readonly string[], address: string | null, servedBy = false): string =>
  extraFieldsOf(servedBy, 'b', isToldOf(serverTiming))('relay', 1500, client(address));

test('nobody, or everybody', () => {
  assert.equal(told(false, '10.1.1.1'), '');
  assert.equal(told(true, '10.1.1.1'), TIMING);
  assert.equal(told(true, null, true), `X-Served-By: b\r\n${TIMING}`);
  assert.equal(told(false, null, true), 'X-Served-By: b\r\n');
});

test('what mechanism auto has estimated goes along, in milliseconds; nothing of a row that is not to be had', () => {
  const fields = extraFieldsOf(false, 'b', isToldOf(true));
  const estimates = { relay: 33, anchor: 1250, clone: null };
  assert.equal(
    fields('relay', 1500, null, estimates),
    'Server-Timing: handoff;desc=relay;dur=1.500, auto-relay;dur=0.033, auto-anchor;dur=1.250\r\n',
  );
  assert.equal(extraFieldsOf(false, 'b', isToldOf(false))('relay', 1500, null, estimates), '');
});

test('clients of some networks, whichever node answers; who is not known is not among them', () => {
  const networks = ['10.0.0.0/8', '2001:db8::/32'];
  for (const address of ['10.1.1.1', '2001:db8::7']) assert.equal(told(networks, address), TIMING);
  for (const address of ['11.1.1.1', '2001:db9::7', null]) assert.equal(told(networks, address), '');
  assert.equal(extraFieldsOf(true, 'b', isToldOf(networks))('relay', 1, null), 'X-Served-By: b\r\n');
  assert.equal(told([], '10.1.1.1'), '');
});
