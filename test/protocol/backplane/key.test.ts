import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyError } from '../../../src/protocol/backplane/errors.ts';
import { clusterKey, SECRET_MAX_CHARS } from '../../../src/protocol/backplane/key.ts';

const throwsCode = (code: KeyError['code'], secret: string) =>
  assert.throws(
    () => clusterKey(secret),
    (error) => error instanceof KeyError && error.code === code,
  );

describe('clusterKey', () => {
  it('takes 64 hexadecimal digits as they are', () => {
    const hex = '00112233445566778899aabbccddeeff'.repeat(2);
    assert.equal(clusterKey(hex).toString('hex'), hex);
    assert.equal(clusterKey(hex.toUpperCase()).toString('hex'), hex);
  });

  it('stretches anything else, the same on every node', () => {
    const key = clusterKey('a secret of the cluster');
    // From Python: hashlib.scrypt(b'a secret of the cluster', salt=b'baton cluster key 1', n=2**15, r=8, p=1, dklen=32)
    assert.equal(key.toString('hex'), '05032ac6c1c26efd10421789a9cc19291b5cc9926d0033ec2af35b20c7a8151e');
    assert.notDeepEqual(clusterKey('a secret of the clusteR'), key);
    assert.notEqual(clusterKey('0'.repeat(63)).toString('hex'), '0'.repeat(64));
    assert.deepEqual(clusterKey('a secret with \u00e9 in it'), clusterKey('a secret with e\u0301 in it'));
  });

  it('refuses short and very long secrets', () => {
    throwsCode('SECRET_TOO_SHORT', '');
    throwsCode('SECRET_TOO_SHORT', 'fifteen chars..');
    assert.equal(clusterKey('sixteen chars...').length, 32);
    throwsCode('SECRET_TOO_LONG', 'x'.repeat(SECRET_MAX_CHARS + 1));
  });
});
