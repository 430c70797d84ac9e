/**
 * Sequence numbers: unsigned 32-bit numbers that wrap (RFC 9293 section 3.4). Everything here takes and returns
 * plain numbers in 0..2^32-1. Comparison is serial: `a` is before `b` when b - a, modulo 2^32, is below 2^31; Two
 * numbers exactly 2^31 apart have no order (each is then less than the other): no window is that large.
 */

/** `sequence` moved by `bytes`, which may be negative. */
export function add(sequence: number, bytes: number): number {
  return (sequence + bytes) >>> 0;
}

/** How far `to` lies after `from`, in bytes, as a signed number in -2^31..2^31-1. */
export function distance(from: number, to: number): number {
  return (to - from) | 0;
}

/** How far `to` lies after `from` in bytes, counting forward only: 0..2^32-1. */
export function span(from: number, to: number): number {
  return (to - from) >>> 0;
}

export function lessThan(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

export function lessOrEqual(a: number, b: number): boolean {
  return ((a - b) | 0) <= 0;
}

/** True when `start` <= `sequence` < `end`, going forward from `start`; an empty range holds nothing. */
export function between(sequence: number, start: number, end: number): boolean {
  return (sequence - start) >>> 0 < (end - start) >>> 0;
}

/** The later of two sequence numbers. */
export function max(a: number, b: number): number {
  return lessThan(a, b) ? b : a;
}

/** The earlier of two sequence numbers. */
export function min(a: number, b: number): number {
  return lessThan(b, a) ? b : a;
}

/** True for a number that can be a sequence number, or any other unsigned 32-bit field. */
export function isU32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}
