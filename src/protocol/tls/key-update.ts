/** KeyUpdate (RFC 8446, 4.6.3): the only message of the handshake's protocol that has a place after it. */
import { Alert, TlsError } from './alerts.ts';

const KEY_UPDATE = 24;
const HEADER_BYTES = 4;
const BODY_BYTES = 1;
export const KEY_UPDATE_BYTES = HEADER_BYTES + BODY_BYTES;

/** `asks`: the other end is to update its keys, too. */
export function keyUpdate(asks: boolean): Buffer {
  return Buffer.from([KEY_UPDATE, 0, 0, BODY_BYTES, asks ? 1 : 0]);
}

/**
 * Whether the message asks for ours; null: `bytes` are the beginning of one. Nothing may follow it in its record, since
 * what follows has other keys. Throws TlsError.
 */
export function readKeyUpdate(bytes: Buffer): boolean | null {
  if (bytes[0] !== KEY_UPDATE)
    throw new TlsError('UNEXPECTED', Alert.UNEXPECTED_MESSAGE, `message ${bytes[0]} after the handshake`);
  for (let at = 1; at < Math.min(HEADER_BYTES, bytes.length); at++) {
    if (bytes[at] !== (at === HEADER_BYTES - 1 ? BODY_BYTES : 0))
      throw new TlsError('MALFORMED', Alert.DECODE_ERROR, 'KeyUpdate of another length');
  }
  if (bytes.length < KEY_UPDATE_BYTES) return null;
  if (bytes.length > KEY_UPDATE_BYTES)
    throw new TlsError('UNEXPECTED', Alert.UNEXPECTED_MESSAGE, 'bytes after KeyUpdate');
  const asked = bytes[HEADER_BYTES];
  if (asked > 1) throw new TlsError('MALFORMED', Alert.ILLEGAL_PARAMETER, `KeyUpdate asks ${asked}`);
  return asked === 1;
}
