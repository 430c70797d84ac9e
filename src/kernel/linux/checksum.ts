/** The Internet checksum (RFC 1071). */

/** The sum of the 16-bit words of bytes [start, end), carries not yet folded; an odd last byte is padded with 0. */
export function sumWords(bytes: Buffer, start: number, end: number): number {
  let sum = 0;
  const whole = end - ((end - start) & 1);
  for (let at = start; at < whole; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
  return whole < end ? sum + (bytes[whole] << 8) : sum;
}

/** A sum with its carries folded in. */
export function foldSum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}
