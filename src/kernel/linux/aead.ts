/**
 * Authenticated encryption with associated data (RFC 5116) by OpenSSL's libcrypto, called directly: node:crypto makes
 * an object for each message, which costs several times what encrypting a small one does. The library is the copy that
 * Node carries and exports to native modules, else the system's.
 */
import koffi from 'koffi';
import { addressOf, allocate } from './memory.ts';

/** Of all three algorithms. */
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;

export type AeadName = 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';
export const AEAD_KEY_BYTES: Readonly<Record<AeadName, number>> = {
  'aes-128-gcm': 16,
  'aes-256-gcm': 32,
  'chacha20-poly1305': 32,
};

/** EVP_CTRL_AEAD_..., include/openssl/evp.h. */
const GET_TAG = 0x10;
const SET_TAG = 0x11;
const SYSTEM_LIBRARY = 'libcrypto.so.3';

interface Libcrypto {
  newContext: () => number;
  freeContext: (context: number) => void;
  /** Found once: OpenSSL's constants for them it would look up for each key. */
  ciphers: Readonly<Record<AeadName, number>>;
  init: (context: number, cipher: number, engine: number, key: number, nonce: number, seal: number) => number;
  update: (context: number, out: number, outBytes: number, input: number, inputBytes: number) => number;
  final: (context: number, out: number, outBytes: number) => number;
  control: (context: number, what: number, bytes: number, at: number) => number;
}

let loaded: Libcrypto | undefined;

function functionsOf(lib: ReturnType<typeof koffi.load>): Libcrypto {
  const fetchCipher = lib.func('intptr_t EVP_CIPHER_fetch(intptr_t, const char*, intptr_t)');
  return {
    newContext: lib.func('intptr_t EVP_CIPHER_CTX_new()'),
    freeContext: lib.func('void EVP_CIPHER_CTX_free(intptr_t)'),
    ciphers: {
      'aes-128-gcm': fetchCipher(0, 'AES-128-GCM', 0),
      'aes-256-gcm': fetchCipher(0, 'AES-256-GCM', 0),
      'chacha20-poly1305': fetchCipher(0, 'ChaCha20-Poly1305', 0),
    },
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
  if (result !== 1) throw new Error('libcrypto refused a call of an AEAD cipher');
}

const scratch = allocate(TAG_BYTES + 4);
const written = scratch.address + TAG_BYTES;

/** One key in one direction. To be freed. */
export class Aead {
  readonly #lib = libcrypto();
  readonly #seals: boolean;
  #context: number;

  constructor(name: AeadName, direction: 'seal' | 'open', key: Buffer) {
    const keyBytes = AEAD_KEY_BYTES[name];
    if (key.length !== keyBytes) throw new RangeError(`a key of ${name} has ${keyBytes} bytes`);
    this.#seals = direction === 'seal';
    this.#context = this.#lib.newContext();
    const { init, ciphers } = this.#lib;
    must(init(this.#context, ciphers[name], 0, addressOf(key), 0, this.#seals ? 1 : 0));
  }

  #begin(nonce: number, associated: number, associatedBytes: number): void {
    const { init, update } = this.#lib;
    must(init(this.#context, 0, 0, 0, nonce, this.#seals ? 1 : 0));
    must(update(this.#context, 0, written, associated, associatedBytes));
  }

  /**
   * Encrypts `plaintext` to `into[at]` and puts the tag behind it. The associated data are the `associatedBytes` of
   * `into` before `at`. The nonce must never come twice under one key.
   */
  seal(nonce: Buffer, plaintext: Buffer, into: Buffer, at: number, associatedBytes: number): void {
    const from = plaintext.length > 0 ? addressOf(plaintext) : 0;
    const to = addressOf(into) + at;
    this.#begin(addressOf(nonce), to - associatedBytes, associatedBytes);
    this.#seal(from, plaintext.length, to);
  }

  /**
   * The same for the `bytes` at address `at`, encrypted where they are, by nonce and associated data at addresses of
   * their own.
   */
  sealInPlace(nonce: number, associated: number, associatedBytes: number, at: number, bytes: number): void {
    this.#begin(nonce, associated, associatedBytes);
    this.#seal(at, bytes, at);
  }

  /** The rest of it, when nonce and associated data are known. */
  #seal(from: number, bytes: number, to: number): void {
    const { update, final, control } = this.#lib;
    if (bytes > 0) must(update(this.#context, to, written, from, bytes));
    must(final(this.#context, scratch.address, written));
    must(control(this.#context, GET_TAG, TAG_BYTES, to + bytes));
  }

  /**
   * Decrypts what lies in `bytes` from `at` to `end`, tag last, into memory of its own; the associated data are at an
   * address of their own. Null when it is not authentic.
   */
  open(
    nonce: Buffer,
    associated: number,
    associatedBytes: number,
    bytes: Buffer,
    at: number,
    end: number,
  ): Buffer | null {
    const plaintext = Buffer.allocUnsafe(end - at - TAG_BYTES);
    const to = plaintext.length > 0 ? addressOf(plaintext) : 0;
    this.#begin(addressOf(nonce), associated, associatedBytes);
    return this.#open(to, addressOf(bytes) + at, plaintext.length) ? plaintext : null;
  }

  /**
   * Decrypts the `bytes` at address `from`, their tag behind them and the associated data before, to address `to`, by
   * the nonce at address `nonce`. False when it is not authentic: what is at `to` then means nothing.
   */
  openTo(to: number, nonce: number, from: number, bytes: number, associatedBytes: number): boolean {
    this.#begin(nonce, from - associatedBytes, associatedBytes);
    return this.#open(to, from, bytes);
  }

  #open(to: number, from: number, bytes: number): boolean {
    const { update, final, control } = this.#lib;
    if (bytes > 0) must(update(this.#context, to, written, from, bytes));
    must(control(this.#context, SET_TAG, TAG_BYTES, from + bytes));
    return final(this.#context, scratch.address, written) === 1;
  }

  /** Forgets the key. Idempotent. */
  free(): void {
    this.#lib.freeContext(this.#context);
    this.#context = 0;
  }
}
