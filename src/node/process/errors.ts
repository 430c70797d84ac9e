/** Why a node did not start. Every code is stable; the hint says what to do. */

export type StartErrorCode =
  /** The node's interface is not there, or is none that Baton can use. */
  | 'INTERFACE'
  /** A directory that this node serves is not there, or cannot be read. */
  | 'CONTENT'
  /** A certificate of a site, or its key, is not there, or cannot be used. */
  | 'CERTIFICATE'
  /** Another program has a port that this node is to listen on. */
  | 'PORT'
  /** The router cannot be loaded or attached. */
  | 'ROUTER'
  /** A public address cannot be added. */
  | 'ADDRESS'
  /** An engine ended before it listened, or never did. */
  | 'ENGINE';

export class StartError extends Error {
  override readonly name = 'StartError';
  readonly code: StartErrorCode;

  constructor(code: StartErrorCode, detail: string, hint: string) {
    super(`${code}: ${detail}\n  hint: ${hint}`);
    this.code = code;
  }
}

/** Runs a step of the start; what it throws becomes a StartError. */
export function step<T>(code: StartErrorCode, hint: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(code, (error as Error).message, hint);
  }
}
