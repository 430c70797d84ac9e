/**
 * Reads large files for the engines and says what stands for their bytes: a little at a time, in the main thread, so
 * that no client waits for it. A digest is of one version of a file; it is known to all engines until others take its
 * place.
 */
import { createHash } from 'node:crypto';
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import { FileState } from '../../kernel/linux/file-state.ts';
import { digestOf } from '../../protocol/http/representation.ts';

/** Hashing as much takes a millisecond, with SHA instructions. */
const PIECE_BYTES = 2 * 1024 * 1024;
/** A very large file does not keep others waiting. */
const FILES_AT_ONCE = 4;
const MAX_KNOWN = 65_536;

const readSome = promisify(read);

/** An open file in a version, as an engine names it. */
export interface VersionedFile {
  readonly fd: number;
  readonly version: string;
  readonly sizeBytes: number;
}

export class Digests {
  readonly #known = new LRUCache<string, string>({ max: MAX_KNOWN });
  readonly #underWay = new Map<string, Promise<string | null>>();
  readonly #waiting: Array<() => void> = [];
  #reading = 0;

  /** Null when nobody can vouch for one: the file has changed, or cannot be read. */
  async of(file: VersionedFile): Promise<string | null> {
    const { version } = file;
    const known = this.#known.get(version);
    if (known !== undefined) return known;
    let reading = this.#underWay.get(version);
    if (reading === undefined) {
      reading = this.#inTurn(file);
      this.#underWay.set(version, reading);
    }
    return reading;
  }

  async #inTurn(file: VersionedFile): Promise<string | null> {
    if (this.#reading >= FILES_AT_ONCE) await new Promise<void>((go) => this.#waiting.push(go));
    this.#reading++;
    const digest = await readDigest(file).catch(() => null);
    this.#reading--;
    this.#waiting.shift()?.();
    this.#underWay.delete(file.version);
    if (digest !== null) this.#known.set(file.version, digest);
    return digest;
  }
}

/** An engine that has ended has closed the descriptor, which may be another file's by then: the version tells. */
async function readDigest({ fd, version, sizeBytes }: VersionedFile): Promise<string | null> {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, sizeBytes));
  if (new FileState(fd).version !== version) return null;
  for (let at = 0; at < sizeBytes; ) {
    const { bytesRead } = await readSome(fd, piece, 0, Math.min(piece.length, sizeBytes - at), at);
    if (bytesRead === 0) return null;
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  return new FileState(fd).version === version ? digestOf(hash) : null;
}
