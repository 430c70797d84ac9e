/**
 * OpenSSL's libssl and libcrypto: what the TLS handshake uses of them, synchronous, over memory, and what seals and opens
 * (aead.ts, hmac.ts), with objects as plain addresses. The library is the copy that Node carries and exports to native
 * modules, else the system's. What OpenSSL calls back it calls in the middle of one of these calls, on the same thread.
 */
import koffi from 'koffi';

type N = number;
type Call<A extends unknown[], R = number> = (...args: A) => R;
type Library = ReturnType<typeof koffi.load>;

const SYSTEM_LIBRARIES = ['libssl.so.3', 'libcrypto.so.3'] as const;

/** include/openssl/tls1.h and ssl.h. */
export const TLS1_2 = 0x0303;
export const TLS1_3 = 0x0304;
export const SSL_ERROR_WANT_READ = 2;
export const SSL_OP_PRIORITIZE_CHACHA = 2 ** 21;
export const SSL_OP_CIPHER_SERVER_PREFERENCE = 2 ** 22;
export const SSL_OP_NO_RENEGOTIATION = 2 ** 30;
export const CTRL_SET_SESS_CACHE_MODE = 44;
export const CTRL_CHAIN_CERT = 89;
export const CTRL_SET_GROUPS_LIST = 92;
export const CTRL_SET_MIN_PROTO_VERSION = 123;
const CTRL_SET_TLSEXT_SERVERNAME_CB = 53;
const CTRL_SET_TLSEXT_TICKET_KEY_CB = 72;
/** What a callback for an extension returns. */
export const TLSEXT_OK = 0;
export const TLSEXT_ALERT_FATAL = 2;
export const TLSEXT_NOACK = 3;

export interface Openssl {
  readonly clearErrors: Call<[]>;
  readonly nextError: Call<[]>;
  readonly serverMethod: Call<[]>;
  readonly newContext: Call<[method: N]>;
  readonly freeContext: Call<[context: N]>;
  /** Adds a reference: the context must be freed once more. */
  readonly referContext: Call<[context: N]>;
  readonly control: Call<[context: N, what: N, number: N, at: N]>;
  readonly setOptions: Call<[context: N, options: N]>;
  /** Names the cipher suites for TLS 1.3. */
  readonly setCiphersuites: Call<[context: N, names: string]>;
  /** Names the cipher suites for TLS 1.2. */
  readonly setCipherList: Call<[context: N, names: string]>;
  readonly setTimeout: Call<[context: N, seconds: N]>;
  readonly setMaxEarlyData: Call<[context: N, bytes: N]>;
  readonly setSessionIdContext: Call<[context: N, name: string, bytes: N]>;
  readonly useCertificate: Call<[context: N, certificate: N]>;
  readonly useKey: Call<[context: N, key: N]>;
  /** Whether the key that came last is that of a certificate. */
  readonly checkKey: Call<[context: N]>;
  readonly newSession: Call<[context: N]>;
  readonly freeSession: Call<[session: N]>;
  readonly switchContext: Call<[session: N, context: N]>;
  readonly setBio: Call<[session: N, read: N, write: N]>;
  readonly accept: Call<[session: N]>;
  readonly errorOf: Call<[session: N, result: N]>;
  readonly serverName: Call<[session: N, type: N], string | null>;
  readonly isReused: Call<[session: N]>;
  /** What was agreed on. */
  readonly versionOf: Call<[session: N]>;
  readonly clientRandom: Call<[session: N, into: N, bytes: N]>;
  readonly serverRandom: Call<[session: N, into: N, bytes: N]>;
  readonly cipherOf: Call<[session: N]>;
  /** The suite's number as in ClientHello. */
  readonly suiteOf: Call<[cipher: N]>;
  readonly newBio: Call<[method: N]>;
  readonly memoryMethod: Call<[]>;
  readonly newMemoryBio: Call<[at: N, bytes: N]>;
  readonly freeBio: Call<[bio: N]>;
  readonly bioWrite: Call<[bio: N, at: N, bytes: N]>;
  readonly bioRead: Call<[bio: N, at: N, bytes: N]>;
  readonly bioPending: Call<[bio: N]>;
  readonly readCertificate: Call<[bio: N, into: N, ask: N, passphrase: N]>;
  readonly freeCertificate: Call<[certificate: N]>;
  readonly readKey: Call<[bio: N, into: N, ask: N, passphrase: N]>;
  readonly freeKey: Call<[key: N]>;
  readonly newCipher: Call<[]>;
  readonly freeCipher: Call<[cipher: N]>;
  /** What is 0 stays as it was. `seals`: 1, else 0. */
  readonly cipherInit: Call<[cipher: N, algorithm: N, engine: N, key: N, iv: N, seals: N]>;
  readonly cipherUpdate: Call<[cipher: N, out: N, outBytes: N, input: N, inputBytes: N]>;
  readonly cipherFinal: Call<[cipher: N, out: N, outBytes: N]>;
  readonly cipherControl: Call<[cipher: N, what: N, bytes: N, at: N]>;
  /** Found once, and good for ever: by another name for it OpenSSL looks it up in each call. */
  readonly fetchCipher: Call<[library: N, name: string, properties: N]>;
  readonly fetchDigest: Call<[library: N, name: string, properties: N]>;
  readonly newHmac: Call<[]>;
  readonly hmacInit: Call<[hmac: N, key: N, bytes: N, digest: N, engine: N]>;
  readonly hmacUpdate: Call<[hmac: N, at: N, bytes: N]>;
  readonly hmacFinal: Call<[hmac: N, into: N, bytes: N]>;
  /** Forgets the key. */
  readonly hmacReset: Call<[hmac: N]>;
  readonly random: Call<[into: N, bytes: N]>;
  /** Copies a text, its final zero included, as far as it fits; returns its length. */
  readonly copyText: Call<[to: N, from: N, roomBytes: N]>;
  onKeylog(context: N, callback: KeylogCallback): void;
  onServerName(context: N, callback: ServerNameCallback): void;
  onAlpn(context: N, callback: AlpnCallback): void;
  onTicketKey(context: N, callback: TicketKeyCallback): void;
}

/** `line`: address of a text, LABEL SPACE CLIENT_RANDOM SPACE SECRET, in hexadecimal. */
export type KeylogCallback = (session: N, line: N) => void;
/** `alert`: address of an int that becomes the alert's number. */
export type ServerNameCallback = (session: N, alert: N, argument: N) => N;
/** `out`: address of a pointer into the client's list; `outBytes`: of one byte. */
export type AlpnCallback = (session: N, out: N, outBytes: N, list: N, listBytes: N, argument: N) => N;
export type TicketKeyCallback = (session: N, name: N, iv: N, cipher: N, hmac: N, isNew: N) => N;

const KEYLOG = koffi.pointer(koffi.proto('void BatonKeylog(intptr_t, intptr_t)'));
const SERVER_NAME = koffi.pointer(koffi.proto('int BatonServerName(intptr_t, intptr_t, intptr_t)'));
const ALPN = koffi.pointer(
  koffi.proto('int BatonAlpn(intptr_t, intptr_t, intptr_t, intptr_t, uint32_t, intptr_t)'),
);
const TICKET_KEY = koffi.pointer(
  koffi.proto('int BatonTicketKey(intptr_t, intptr_t, intptr_t, intptr_t, intptr_t, int)'),
);

/** Registered once a callback: OpenSSL keeps them for as long as its contexts live. */
const registered = new Map<unknown, unknown>();

function pointerTo(callback: unknown, type: ReturnType<typeof koffi.pointer>): unknown {
  const known = registered.get(callback);
  if (known !== undefined) return known;
  const pointer = koffi.register(callback as (...args: unknown[]) => unknown, type);
  registered.set(callback, pointer);
  return pointer;
}

function functionsOf(ssl: Library, crypto: Library): Openssl {
  const setKeylog = ssl.func('SSL_CTX_set_keylog_callback', 'void', ['intptr_t', KEYLOG]);
  const setAlpn = ssl.func('SSL_CTX_set_alpn_select_cb', 'void', ['intptr_t', ALPN, 'intptr_t']);
  const setServerName = ssl.func('SSL_CTX_callback_ctrl', 'long', ['intptr_t', 'int', SERVER_NAME]);
  const setTicketKey = ssl.func('SSL_CTX_callback_ctrl', 'long', ['intptr_t', 'int', TICKET_KEY]);
  return {
    clearErrors: crypto.func('void ERR_clear_error()'),
    nextError: crypto.func('ulong ERR_get_error()'),
    serverMethod: ssl.func('intptr_t TLS_server_method()'),
    newContext: ssl.func('intptr_t SSL_CTX_new(intptr_t)'),
    freeContext: ssl.func('void SSL_CTX_free(intptr_t)'),
    referContext: ssl.func('int SSL_CTX_up_ref(intptr_t)'),
    control: ssl.func('long SSL_CTX_ctrl(intptr_t, int, long, intptr_t)'),
    setOptions: ssl.func('uint64_t SSL_CTX_set_options(intptr_t, uint64_t)'),
    setCiphersuites: ssl.func('int SSL_CTX_set_ciphersuites(intptr_t, const char*)'),
    setCipherList: ssl.func('int SSL_CTX_set_cipher_list(intptr_t, const char*)'),
    setTimeout: ssl.func('long SSL_CTX_set_timeout(intptr_t, long)'),
    setMaxEarlyData: ssl.func('int SSL_CTX_set_max_early_data(intptr_t, uint32_t)'),
    setSessionIdContext: ssl.func('int SSL_CTX_set_session_id_context(intptr_t, const char*, uint32_t)'),
    useCertificate: ssl.func('int SSL_CTX_use_certificate(intptr_t, intptr_t)'),
    useKey: ssl.func('int SSL_CTX_use_PrivateKey(intptr_t, intptr_t)'),
    checkKey: ssl.func('int SSL_CTX_check_private_key(intptr_t)'),
    newSession: ssl.func('intptr_t SSL_new(intptr_t)'),
    freeSession: ssl.func('void SSL_free(intptr_t)'),
    switchContext: ssl.func('intptr_t SSL_set_SSL_CTX(intptr_t, intptr_t)'),
    setBio: ssl.func('void SSL_set_bio(intptr_t, intptr_t, intptr_t)'),
    accept: ssl.func('int SSL_accept(intptr_t)'),
    errorOf: ssl.func('int SSL_get_error(intptr_t, int)'),
    serverName: ssl.func('const char* SSL_get_servername(intptr_t, int)'),
    isReused: ssl.func('int SSL_session_reused(intptr_t)'),
    versionOf: ssl.func('int SSL_version(intptr_t)'),
    clientRandom: ssl.func('size_t SSL_get_client_random(intptr_t, intptr_t, size_t)'),
    serverRandom: ssl.func('size_t SSL_get_server_random(intptr_t, intptr_t, size_t)'),
    cipherOf: ssl.func('intptr_t SSL_get_current_cipher(intptr_t)'),
    suiteOf: ssl.func('uint16_t SSL_CIPHER_get_protocol_id(intptr_t)'),
    newBio: crypto.func('intptr_t BIO_new(intptr_t)'),
    memoryMethod: crypto.func('intptr_t BIO_s_mem()'),
    newMemoryBio: crypto.func('intptr_t BIO_new_mem_buf(intptr_t, int)'),
    freeBio: crypto.func('int BIO_free(intptr_t)'),
    bioWrite: crypto.func('int BIO_write(intptr_t, intptr_t, int)'),
    bioRead: crypto.func('int BIO_read(intptr_t, intptr_t, int)'),
    bioPending: crypto.func('size_t BIO_ctrl_pending(intptr_t)'),
    readCertificate: crypto.func('intptr_t PEM_read_bio_X509(intptr_t, intptr_t, intptr_t, intptr_t)'),
    freeCertificate: crypto.func('void X509_free(intptr_t)'),
    readKey: crypto.func('intptr_t PEM_read_bio_PrivateKey(intptr_t, intptr_t, intptr_t, intptr_t)'),
    freeKey: crypto.func('void EVP_PKEY_free(intptr_t)'),
    newCipher: crypto.func('intptr_t EVP_CIPHER_CTX_new()'),
    freeCipher: crypto.func('void EVP_CIPHER_CTX_free(intptr_t)'),
    cipherInit: crypto.func('int EVP_CipherInit_ex(intptr_t, intptr_t, intptr_t, intptr_t, intptr_t, int)'),
    cipherUpdate: crypto.func('int EVP_CipherUpdate(intptr_t, intptr_t, intptr_t, intptr_t, int)'),
    cipherFinal: crypto.func('int EVP_CipherFinal_ex(intptr_t, intptr_t, intptr_t)'),
    cipherControl: crypto.func('int EVP_CIPHER_CTX_ctrl(intptr_t, int, int, intptr_t)'),
    fetchCipher: crypto.func('intptr_t EVP_CIPHER_fetch(intptr_t, const char*, intptr_t)'),
    fetchDigest: crypto.func('intptr_t EVP_MD_fetch(intptr_t, const char*, intptr_t)'),
    newHmac: crypto.func('intptr_t HMAC_CTX_new()'),
    hmacInit: crypto.func('int HMAC_Init_ex(intptr_t, intptr_t, int, intptr_t, intptr_t)'),
    hmacUpdate: crypto.func('int HMAC_Update(intptr_t, intptr_t, size_t)'),
    hmacFinal: crypto.func('int HMAC_Final(intptr_t, intptr_t, intptr_t)'),
    hmacReset: crypto.func('int HMAC_CTX_reset(intptr_t)'),
    random: crypto.func('int RAND_bytes(intptr_t, int)'),
    copyText: crypto.func('size_t OPENSSL_strlcpy(intptr_t, intptr_t, size_t)'),
    onKeylog: (context, callback) => setKeylog(context, pointerTo(callback, KEYLOG)),
    onServerName: (context, callback) =>
      setServerName(context, CTRL_SET_TLSEXT_SERVERNAME_CB, pointerTo(callback, SERVER_NAME)),
    onAlpn: (context, callback) => setAlpn(context, pointerTo(callback, ALPN), 0),
    onTicketKey: (context, callback) =>
      setTicketKey(context, CTRL_SET_TLSEXT_TICKET_KEY_CB, pointerTo(callback, TICKET_KEY)),
  };
}

let loaded: Openssl | undefined;

export function openssl(): Openssl {
  if (loaded !== undefined) return loaded;
  try {
    const own = koffi.load(null);
    loaded = functionsOf(own, own);
  } catch {
    // A Node that was linked without exporting OpenSSL's names.
    const [ssl, crypto] = SYSTEM_LIBRARIES.map((name) => koffi.load(name));
    loaded = functionsOf(ssl, crypto);
  }
  return loaded;
}
