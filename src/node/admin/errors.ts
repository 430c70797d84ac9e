/** What can go wrong in the main thread's observability. Every code is stable; messages say what to do. */

export type AdminErrorCode =
  /** A node runs in this network namespace already. */
  | 'NODE_RUNS'
  /** The admin API cannot listen on its address. */
  | 'ADMIN_ADDRESS'
  /** The access log's file cannot be opened. */
  | 'LOG_FILE'
  /** An engine did not answer a query in time; it is busy or stuck. */
  | 'QUERY_TIMEOUT'
  /** An engine could not take new policies over; the message says why. */
  | 'POLICIES_REFUSED'
  /** An engine could not take new certificates over; the message says why. */
  | 'CERTIFICATES_REFUSED'
  /** An engine's port is closed: the engine ended. */
  | 'ENGINE_GONE';

export class AdminError extends Error {
  override readonly name = 'AdminError';
  readonly code: AdminErrorCode;

  constructor(code: AdminErrorCode, detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}
