/** Errors from the kernel, with the name of the call and of the errno. */
import { constants } from 'node:os';
import koffi from 'koffi';

/** Where one number has two names the first stays: EAGAIN, not EWOULDBLOCK. */
const NAMES = new Map<number, string>(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, value]) => [value, name]),
);

export const EPERM = constants.errno.EPERM;
export const ENOENT = constants.errno.ENOENT;
export const EINTR = constants.errno.EINTR;
export const EAGAIN = constants.errno.EAGAIN;
export const ECONNRESET = constants.errno.ECONNRESET;
export const ETIMEDOUT = constants.errno.ETIMEDOUT;
export const EEXIST = constants.errno.EEXIST;
export const EADDRNOTAVAIL = constants.errno.EADDRNOTAVAIL;
export const EINPROGRESS = constants.errno.EINPROGRESS;

/** The name of an error number, as Node's own errors have it: ECONNREFUSED. */
export function errorName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

/** A system call that failed. `code` is the errno's name, as in Node's own errors. */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, errno: number, detail = '') {
    const code = errorName(errno);
    super(`${syscall}: ${code}${detail === '' ? '' : ` (${detail})`}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
  }
}

/** The errno of the call just made; read it before any other call. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Passes a call's result through, or throws what errno says when it is negative. */
export function check(syscall: string, result: number, detail = ''): number {
  if (result < 0) throw new SystemError(syscall, koffi.errno(), detail);
  return result;
}

/**
 * A client may reset its connection between any two system calls; the socket then refuses what only a connected one
 * can do. Its event is on the way and ends the connection; nothing else may suffer.
 */
export function unlessSocketDied<T>(error: unknown, otherwise: T): T {
  if (error instanceof SystemError) return otherwise;
  throw error;
}
