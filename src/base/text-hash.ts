/** A 32-bit hash of a text, the same on every node: FNV-1a over UTF-16 code units, then murmur3's finaliser. */
export function textHash(text: string, seed: number): number {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  // FNV alone leaves the low bits of similar texts alike.
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** FNV's offset basis, the seed when there is no other. */
export const TEXT_SEED = 0x811c9dc5;

/** What a document is called between nodes (CACHED). `path` is relative to the root, as in a catalogue. */
export function documentHash(path: string): number {
  return textHash(path, TEXT_SEED);
}
