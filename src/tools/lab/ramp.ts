/**
 * Byte ramps: content that is a function of its name, its size and the offset, so that a byte from another place,
 * another file or another size shows. Made and checked as a stream, in any pieces.
 */

/** FNV-1a over the name and size, mixed: one seed for each file. */
function seedOf(name: string, sizeBytes: number): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${name} ${sizeBytes}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Four content bytes, those at offsets 4 * index to 4 * index + 3, as a little-endian word (murmur3's finaliser). */
function wordAt(seed: number, index: number): number {
  let word = Math.imul(index + 1, 0x9e3779b1) ^ seed;
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/** Writes the content from `offset` on into all of `out`. */
export function fillRamp(out: Buffer, name: string, sizeBytes: number, offset = 0): void {
  const seed = seedOf(name, sizeBytes);
  for (let i = 0; i < out.length; ) {
    const at = offset + i;
    const word = wordAt(seed, Math.floor(at / 4));
    if (at % 4 === 0 && i + 4 <= out.length) {
      out.writeUInt32LE(word, i);
      i += 4;
    } else {
      out[i++] = word >>> (8 * (at % 4));
    }
  }
}

/** The content of a whole file. `name` is what it is known by everywhere, usually the path of its URL. */
export function ramp(name: string, sizeBytes: number): Buffer {
  const out = Buffer.allocUnsafe(sizeBytes);
  fillRamp(out, name, sizeBytes);
  return out;
}

const CHECK_BYTES = 64 * 1024;

/** Checks a ramp as it arrives. */
export class RampCheck {
  readonly #name: string;
  readonly #sizeBytes: number;
  readonly #expected = Buffer.allocUnsafe(CHECK_BYTES);
  #offset: number;
  #wrongAt = -1;

  /** `offset`: where the bytes start (for ranges). */
  constructor(name: string, sizeBytes: number, offset = 0) {
    this.#name = name;
    this.#sizeBytes = sizeBytes;
    this.#offset = offset;
  }

  /** Offset of the first wrong byte, or -1. A byte past the end is wrong. */
  get wrongAt(): number {
    return this.#wrongAt;
  }

  /** Offset of the next byte expected. */
  get offset(): number {
    return this.#offset;
  }

  /** Right and complete up to the end of the file. */
  get complete(): boolean {
    return this.#wrongAt < 0 && this.#offset === this.#sizeBytes;
  }

  /** Takes the next bytes; false from the first wrong byte on. */
  push(bytes: Buffer): boolean {
    for (let start = 0; start < bytes.length && this.#wrongAt < 0; start += CHECK_BYTES) {
      const part = bytes.subarray(start, start + CHECK_BYTES);
      const expected = this.#expected.subarray(0, part.length);
      fillRamp(expected, this.#name, this.#sizeBytes, this.#offset);
      const within = Math.max(0, Math.min(part.length, this.#sizeBytes - this.#offset));
      if (within === part.length && part.equals(expected)) {
        this.#offset += part.length;
        continue;
      }
      let i = 0;
      while (i < within && part[i] === expected[i]) i++;
      this.#wrongAt = this.#offset + i;
    }
    return this.#wrongAt < 0;
  }
}

/** Offset of the first wrong byte of a whole file, its length when it is short, -1 when it is right. */
export function checkRamp(bytes: Buffer, name: string, sizeBytes: number): number {
  const check = new RampCheck(name, sizeBytes);
  check.push(bytes);
  if (check.wrongAt >= 0) return check.wrongAt;
  return check.complete ? -1 : check.offset;
}
