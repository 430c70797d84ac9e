/** HTTP dates (RFC 9110 5.6.7). Times are milliseconds since 1970, given by the caller. */
import { remembered } from '../../base/remembered.ts';

const MS_PER_SECOND = 1000;
const YEARS_AHEAD = 50;

const dateOfSecond = remembered((second) => formatDate(second * MS_PER_SECOND));

/** IMF-fixdate of `nowMs`, made once per second. */
export function currentDate(nowMs: number): string {
  return dateOfSecond(Math.floor(nowMs / MS_PER_SECOND));
}

/** IMF-fixdate, as in `Sun, 06 Nov 1994 08:49:37 GMT`. */
export function formatDate(timeMs: number): string {
  return new Date(timeMs).toUTCString();
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const MONTH = `(${MONTHS.join('|')})`;
const TIME = '(\\d{2}):(\\d{2}):(\\d{2})';
const IMF_FIXDATE = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\\d{2}) ${MONTH} (\\d{4}) ${TIME} GMT$`);
const RFC_850 = new RegExp(
  `^(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday), (\\d{2})-${MONTH}-(\\d{2}) ${TIME} GMT$`,
);
const ASCTIME = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ${MONTH} (\\d{2}| \\d) ${TIME} (\\d{4})$`);

/**
 * Parses the three forms a recipient must accept. Returns milliseconds since 1970, or NaN for anything else, dates
 * that do not exist included. `nowMs` decides the century of a two-digit year.
 */
export function parseDate(text: string, nowMs: number): number {
  let match = IMF_FIXDATE.exec(text);
  if (match !== null) return toTime(match[3], match[2], match[1], match, 4);
  match = RFC_850.exec(text);
  if (match !== null) {
    const thisYear = new Date(nowMs).getUTCFullYear();
    let year = thisYear - (thisYear % 100) + Number(match[3]);
    if (year > thisYear + YEARS_AHEAD) year -= 100;
    return toTime(String(year), match[2], match[1], match, 4);
  }
  match = ASCTIME.exec(text);
  return match === null ? Number.NaN : toTime(match[6], match[1], match[2], match, 3);
}

function toTime(year: string, month: string, day: string, match: RegExpExecArray, hourAt: number): number {
  const hour = Number(match[hourAt]);
  const minute = Number(match[hourAt + 1]);
  const second = Number(match[hourAt + 2]);
  // 60 is a leap second, which Date does not know: it becomes the second after.
  if (hour > 23 || minute > 59 || second > 60) return Number.NaN;
  const time = new Date(0);
  time.setUTCFullYear(Number(year), MONTHS.indexOf(month), Number(day));
  if (time.getUTCDate() !== Number(day)) return Number.NaN;
  return time.getTime() + ((hour * 60 + minute) * 60 + second) * MS_PER_SECOND;
}
