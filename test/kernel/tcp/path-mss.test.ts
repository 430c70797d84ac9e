import assert from 'node:assert';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { pathMss } from '../../../src/kernel/tcp/path-mss.ts';
import { MIN_MSS_BYTES } from '../../../src/kernel/tcp/state.ts';

test('a segment carries what was agreed, or what the path lets through', () => {
  const four = parseAddress('192.0.2.80');
  const six = parseAddress('2001:db8::80');
  assert.equal(pathMss(1460, 1500, four), 1460);
  assert.equal(pathMss(1440, 1500, six), 1440);
  assert.equal(pathMss(1460, 1280, four), 1240);
  assert.equal(pathMss(1440, 1280, six), 1220);
  assert.equal(pathMss(536, 1280, four), 536, 'the client wants less');
  assert.equal(pathMss(65_495, 65_536, four), 65_495, 'the loopback device');
  assert.equal(pathMss(1460, 68, four), MIN_MSS_BYTES, 'the kernel takes no less');
});
