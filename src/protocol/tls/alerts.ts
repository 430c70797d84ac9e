/** What can go wrong with a client's records. Each is an alert (RFC 8446, 6), after which the connection ends. */

export const ALERT_BYTES = 2;

/** AlertDescription. */
export const Alert = {
  CLOSE_NOTIFY: 0,
  UNEXPECTED_MESSAGE: 10,
  BAD_RECORD_MAC: 20,
  RECORD_OVERFLOW: 22,
  ILLEGAL_PARAMETER: 47,
  DECODE_ERROR: 50,
  INTERNAL_ERROR: 80,
  USER_CANCELED: 90,
  NO_RENEGOTIATION: 100,
} as const;
export type Alert = (typeof Alert)[keyof typeof Alert];

export type TlsErrorCode =
  /** A record fails authentication. */
  | 'BAD_RECORD'
  /** A record, or what is in it, is longer than RFC 8446, 5.2 allows. */
  | 'RECORD_OVERFLOW'
  /** A record or a message of a kind that has no place after the handshake. */
  | 'UNEXPECTED'
  /** A message whose bytes do not make one. */
  | 'MALFORMED'
  /** Records without a byte, one after the other. */
  | 'EMPTY_RECORDS'
  /** KeyUpdates without a byte between them. */
  | 'KEY_UPDATES';

/** Nothing more is read; `alert` is what the client is told. */
export class TlsError extends Error {
  override readonly name = 'TlsError';
  readonly code: TlsErrorCode;
  readonly alert: Alert;

  constructor(code: TlsErrorCode, alert: Alert, detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
    this.alert = alert;
  }
}

const WARNING = 1;
const FATAL = 2;

const WARNINGS: readonly Alert[] = [Alert.CLOSE_NOTIFY, Alert.USER_CANCELED, Alert.NO_RENEGOTIATION];

/** The content of an alert record. Its level says nothing in TLS 1.3; this is what other stacks put there. */
export function alertContent(alert: Alert): Buffer {
  return Buffer.from([WARNINGS.includes(alert) ? WARNING : FATAL, alert]);
}
