/** Content coding negotiation (RFC 9110 12.5.3). */

/** Content codings that a file may have ready beside it, with the ending of the sibling's name. */
export const CODINGS = [
  { coding: 'br', suffix: '.br' },
  { coding: 'zstd', suffix: '.zst' },
  { coding: 'gzip', suffix: '.gz' },
] as const;

export type Coding = (typeof CODINGS)[number]['coding'];

/** What is available in which coding. */
export interface Variant {
  /** '' is identity: the file itself. */
  readonly coding: Coding | '';
  readonly sizeBytes: number;
}

const MEMBER = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?$/;
const MAX_MEMBERS = 32;

/** The weights of an Accept-Encoding value by lower-case coding; malformed members are left out. */
export function parseAcceptEncoding(field: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const member of field.split(',', MAX_MEMBERS)) {
    const match = MEMBER.exec(member.trim());
    if (match === null) continue;
    const name = match[1].toLowerCase();
    weights.set(name === 'x-gzip' ? 'gzip' : name, match[2] === undefined ? 1 : Number(match[2]));
  }
  return weights;
}

/**
 * The index in `variants` to send; the first one is the identity. The highest weight wins, then the smallest file.
 * Identity is the answer when the client said nothing, and a last resort when nothing is acceptable (12.5.3 allows
 * it): it counts as least wanted unless the client gave it a weight.
 */
export function chooseVariant(field: string | undefined, variants: readonly Variant[]): number {
  if (field === undefined || variants.length < 2) return 0;
  const weights = parseAcceptEncoding(field);
  const any = weights.get('*');
  let best = 0;
  let bestWeight = weights.get('identity') ?? 0;
  for (let i = 1; i < variants.length; i++) {
    const weight = weights.get(variants[i].coding) ?? any ?? 0;
    if (weight === 0 || weight < bestWeight) continue;
    if (weight > bestWeight || variants[i].sizeBytes < variants[best].sizeBytes) {
      best = i;
      bestWeight = weight;
    }
  }
  return best;
}
