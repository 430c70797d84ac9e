/** Networks as people write them, ADDRESS or ADDRESS/BITS (RFC 4632, RFC 4291 2.3), and what is in them. */
import { ADDRESS_BYTES, isMapped, parseAddress } from './address.ts';

const IPV4_BITS = 32;
const ADDRESS_BITS = 8 * ADDRESS_BYTES;

interface Network {
  readonly address: Buffer;
  /** How many leading bits of the 16 bytes all of its addresses share. */
  readonly bits: number;
}

/** Null: it is not a network. */
export function parseNetwork(text: string): Network | null {
  const [written, length, ...rest] = text.split('/');
  if (rest.length > 0 || (length !== undefined && !/^\d{1,3}$/.test(length))) return null;
  let address: Buffer;
  try {
    address = parseAddress(written);
  } catch {
    return null;
  }
  const mostBits = isMapped(address) ? IPV4_BITS : ADDRESS_BITS;
  const bits = length === undefined ? mostBits : Number(length);
  return bits > mostBits ? null : { address, bits: ADDRESS_BITS - mostBits + bits };
}

function isIn({ address, bits }: Network, other: Buffer): boolean {
  const whole = bits >> 3;
  if (address.compare(other, 0, whole, 0, whole) !== 0) return false;
  const mask = 0xff00 >> (bits & 7);
  return (bits & 7) === 0 || ((address[whole] ^ other[whole]) & mask & 0xff) === 0;
}

export class Networks {
  readonly #networks: readonly Network[];

  /** `texts`: all of them networks. */
  constructor(texts: readonly string[]) {
    this.#networks = texts.map((text) => parseNetwork(text)!);
  }

  has(address: Buffer): boolean {
    return this.#networks.some((network) => isIn(network, address));
  }
}
