/** The fields of a request head that Baton itself reads; all others are only passed on. */
import { type HeadError, nameAt } from './fields.ts';
import { ERROR } from './request-errors.ts';

/** What a response is chosen and cut by. Values as sent; several lines of one list are one value (RFC 9110 5.3). */
export interface SelectingFields {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
  readonly ifUnmodifiedSince: string | undefined;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  readonly acceptEncoding: string | undefined;
}

/** As those, with what frames the request and its connection. */
export interface RequestFields extends SelectingFields {
  readonly host: string | undefined;
  readonly contentLength: string | undefined;
  readonly transferEncoding: string | undefined;
  readonly connection: string | undefined;
  readonly expect: string | undefined;
}

/** `offsets` are those of `scanFields` into `text`. Told apart by length first: most fields are none of these. */
export function readRequestFields(text: string, offsets: readonly number[]): RequestFields | HeadError {
  let host: string | undefined;
  let contentLength: string | undefined;
  let transferEncoding: string | undefined;
  let connection: string | undefined;
  let expect: string | undefined;
  let ifMatch: string | undefined;
  let ifNoneMatch: string | undefined;
  let ifModifiedSince: string | undefined;
  let ifUnmodifiedSince: string | undefined;
  let range: string | undefined;
  let ifRange: string | undefined;
  let acceptEncoding: string | undefined;
  for (let i = 0; i < offsets.length; i += 4) {
    const name = offsets[i];
    const from = offsets[i + 2];
    const to = offsets[i + 3];
    switch (offsets[i + 1] - name) {
      case 4:
        if (!nameAt(text, name, 'host')) break;
        if (host !== undefined) return ERROR.manyHosts;
        host = text.substring(from, to);
        break;
      case 5:
        if (nameAt(text, name, 'range')) range = joined(range, text.substring(from, to));
        break;
      case 6:
        if (nameAt(text, name, 'expect')) expect = joined(expect, text.substring(from, to));
        break;
      case 8:
        if (nameAt(text, name, 'if-match')) ifMatch = joined(ifMatch, text.substring(from, to));
        else if (nameAt(text, name, 'if-range')) ifRange = joined(ifRange, text.substring(from, to));
        break;
      case 10:
        if (nameAt(text, name, 'connection')) connection = joined(connection, text.substring(from, to));
        break;
      case 13:
        if (nameAt(text, name, 'if-none-match')) ifNoneMatch = joined(ifNoneMatch, text.substring(from, to));
        break;
      case 14:
        if (!nameAt(text, name, 'content-length')) break;
        if (contentLength !== undefined) return ERROR.manyLengths;
        contentLength = text.substring(from, to);
        break;
      case 15:
        if (nameAt(text, name, 'accept-encoding')) {
          acceptEncoding = joined(acceptEncoding, text.substring(from, to));
        }
        break;
      case 17:
        if (nameAt(text, name, 'transfer-encoding')) {
          transferEncoding = joined(transferEncoding, text.substring(from, to));
        } else if (nameAt(text, name, 'if-modified-since')) {
          ifModifiedSince = joined(ifModifiedSince, text.substring(from, to));
        }
        break;
      case 19:
        if (nameAt(text, name, 'if-unmodified-since')) {
          ifUnmodifiedSince = joined(ifUnmodifiedSince, text.substring(from, to));
        }
        break;
      default:
    }
  }
  return {
    host,
    contentLength,
    transferEncoding,
    connection,
    expect,
    ifMatch,
    ifNoneMatch,
    ifModifiedSince,
    ifUnmodifiedSince,
    range,
    ifRange,
    acceptEncoding,
  };
}

function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`;
}
