/**
 * Authenticated encryption with associated data (RFC 5116) by OpenSSL's libcrypto, called directly: node:crypto makes
 * an object for each message, which costs several times what encrypting a small one does.
 */
import { addressOf, allocate } from './memory.ts';
import { openssl } from './openssl.ts';

/** The nonce of each of the three algorithms has this length. */
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

/** Found once: OpenSSL's constants for them it would look up for each key. */
let found: Readonly<Record<AeadName, number>> | undefined;

function cipherOf(name: AeadName): number {
  const { fetchCipher } = openssl();
  found ??= {
    'aes-128-gcm': fetchCipher(0, 'AES-128-GCM', 0),
    'aes-256-gcm': fetchCipher(0, 'AES-256-GCM', 0),
    'chacha20-poly1305': fetchCipher(0, 'ChaCha20-Poly1305', 0),
  };
  return found[name];
}

/** What OpenSSL refuses can only be a call that is wrong, or memory that is out. */
function must(result: number): void {
  if (result !== 1) throw new Error('libcrypto refused a call of an AEAD cipher');
}

const scratch = allocate(TAG_BYTES + 4);
const written = scratch.address + TAG_BYTES;

/**
 * An algorithm with one key, for sealing or for opening. Its memory is OpenSSL's: call `free` when it is no longer
 * used.
 */
export class Aead {
  readonly #lib = openssl();
  readonly #seals: boolean;
  #context: number;

  constructor(name: AeadName, direction: 'seal' | 'open', key: Buffer) {
    const keyBytes = AEAD_KEY_BYTES[name];
    if (key.length !== keyBytes) throw new RangeError(`a key of ${name} has ${keyBytes} bytes`);
    this.#seals = direction === 'seal';
    this.#context = this.#lib.newCipher();
    must(this.#lib.cipherInit(this.#context, cipherOf(name), 0, addressOf(key), 0, this.#seals ? 1 : 0));
  }

  #begin(nonce: number, associated: number, associatedBytes: number): void {
    const { cipherInit, cipherUpdate } = this.#lib;
    must(cipherInit(this.#context, 0, 0, 0, nonce, this.#seals ? 1 : 0));
    must(cipherUpdate(this.#context, 0, written, associated, associatedBytes));
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
    const { cipherUpdate, cipherFinal, cipherControl } = this.#lib;
    if (bytes > 0) must(cipherUpdate(this.#context, to, written, from, bytes));
    must(cipherFinal(this.#context, scratch.address, written));
    must(cipherControl(this.#context, GET_TAG, TAG_BYTES, to + bytes));
  }

  /**
   * Decrypts the `bytes` at address `at`, their tag behind them, where they are; nonce and associated data are at
   * addresses of their own. False when they are not authentic: what lies there then means nothing.
   */
  openInPlace(
    nonce: number,
    associated: number,
    associatedBytes: number,
    at: number,
    bytes: number,
  ): boolean {
    this.#begin(nonce, associated, associatedBytes);
    return this.#open(at, at, bytes);
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
    const { cipherUpdate, cipherFinal, cipherControl } = this.#lib;
    if (bytes > 0) must(cipherUpdate(this.#context, to, written, from, bytes));
    must(cipherControl(this.#context, SET_TAG, TAG_BYTES, from + bytes));
    return cipherFinal(this.#context, scratch.address, written) === 1;
  }

  /** Forgets the key. Idempotent. */
  free(): void {
    this.#lib.freeCipher(this.#context);
    this.#context = 0;
  }
}
