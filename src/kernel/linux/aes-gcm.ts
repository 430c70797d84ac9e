/**
 * AES-128-GCM (NIST SP 800-38D) by OpenSSL's libcrypto, called directly: node:crypto makes an object for each
 * message, which costs several times what encrypting a small one does. The library is the copy that Node carries and
 * exports to native modules, else the system's.
 */
import koffi from 'koffi';
import { addressOf, allocate } from './memory.ts';

export const GCM_KEY_BYTES = 16;
export const GCM_NONCE_BYTES = 12;
export const GCM_TAG_BYTES = 16;

/** EVP_CTRL_AEAD_..., include/openssl/evp.h. */
const GET_TAG = 0x10;
const SET_TAG = 0x11;
const SYSTEM_LIBRARY = 'libcrypto.so.3';

interface Libcrypto {
  newContext: () => number;
  freeContext: (context: number) => void;
  aes128Gcm: () => number;
  init: (context: number, cipher: number, engine: number, key: number, nonce: number, seal: number) => number;
  update: (context: number, out: number, outBytes: number, input: number, inputBytes: number) => number;
  final: (context: number, out: number, outBytes: number) => number;
  control: (context: number, what: number, bytes: number, at: number) => number;
}

let loaded: Libcrypto | undefined;

function functionsOf(lib: ReturnType<typeof koffi.load>): Libcrypto {
  return {
    newContext: lib.func('intptr_t EVP_CIPHER_CTX_new()'),
    freeContext: lib.func('void EVP_CIPHER_CTX_free(intptr_t)'),
    aes128Gcm: lib.func('intptr_t EVP_aes_128_gcm()'),
    init: lib.func('int EVP_CipherInit_ex(intptr_t, intptr_t, intptr_t, intptr_t, intptr_t, int)'),
    update: lib.func('int EVP_CipherUpdate(intptr_t, intptr_t, intptr_t, intptr_t, int)'),
    final: lib.func('int EVP_CipherFinal_ex(intptr_t, intptr_t, intptr_t)'),
    control: lib.func('int EVP_CIPHER_CTX_ctrl(intptr_t, int, int, intptr_t)'),
  };
}

function libcrypto(): Libcrypto {
  if (loaded !== undefined) return loaded;
  try {
    loaded = functionsOf(koffi.load(null));
  } catch {
    // A Node that was linked without exporting OpenSSL's names.
    loaded = functionsOf(koffi.load(SYSTEM_LIBRARY));
  }
  return loaded;
}

/** What OpenSSL refuses can only be a call that is wrong, or memory that is out. */
function must(result: number): void {
  if (result !== 1) throw new Error('libcrypto refused a call of AES-128-GCM');
}

const scratch = allocate(GCM_TAG_BYTES + 4);
const written = scratch.address + GCM_TAG_BYTES;

/** One key in one direction. To be freed. */
export class AesGcm {
  readonly #lib = libcrypto();
  readonly #seals: boolean;
  #context: number;

  constructor(direction: 'seal' | 'open', key: Buffer) {
    if (key.length !== GCM_KEY_BYTES) throw new RangeError(`an AES-128 key has ${GCM_KEY_BYTES} bytes`);
    this.#seals = direction === 'seal';
    this.#context = this.#lib.newContext();
    const { init, aes128Gcm } = this.#lib;
    must(init(this.#context, aes128Gcm(), 0, addressOf(key), 0, this.#seals ? 1 : 0));
  }

  #begin(nonce: Buffer, associated: number, associatedBytes: number): void {
    const { init, update } = this.#lib;
    must(init(this.#context, 0, 0, 0, addressOf(nonce), this.#seals ? 1 : 0));
    must(update(this.#context, 0, written, associated, associatedBytes));
  }

  /**
   * Encrypts `plaintext` to `into[at]` and puts the tag behind it. The associated data are the `associatedBytes` of
   * `into` before `at`. The nonce must never come twice under one key.
   */
  seal(nonce: Buffer, plaintext: Buffer, into: Buffer, at: number, associatedBytes: number): void {
    const to = addressOf(into) + at;
    this.#begin(nonce, to - associatedBytes, associatedBytes);
    const { update, final, control } = this.#lib;
    if (plaintext.length > 0)
      must(update(this.#context, to, written, addressOf(plaintext), plaintext.length));
    must(final(this.#context, scratch.address, written));
    must(control(this.#context, GET_TAG, GCM_TAG_BYTES, to + plaintext.length));
  }

  /**
   * Decrypts what lies in `bytes` from `at` to `end`, tag last, after `associatedBytes` of associated data, into
   * memory of its own. Null when it is not authentic.
   */
  open(nonce: Buffer, bytes: Buffer, at: number, end: number, associatedBytes: number): Buffer | null {
    const from = addressOf(bytes) + at;
    const plaintext = Buffer.allocUnsafe(end - at - GCM_TAG_BYTES);
    this.#begin(nonce, from - associatedBytes, associatedBytes);
    const { update, final, control } = this.#lib;
    if (plaintext.length > 0)
      must(update(this.#context, addressOf(plaintext), written, from, plaintext.length));
    must(control(this.#context, SET_TAG, GCM_TAG_BYTES, from + plaintext.length));
    return final(this.#context, scratch.address, written) === 1 ? plaintext : null;
  }

  /** Forgets the key. Idempotent. */
  free(): void {
    this.#lib.freeContext(this.#context);
    this.#context = 0;
  }
}
