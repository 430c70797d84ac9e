/** The site a lab serves when it is given none: byte ramps of several sizes, and a page that lists them. */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fillRamp } from './ramp.ts';

const KIB = 1024;
const CHUNK_BYTES = 256 * KIB;

/** File name and size in bytes. A file's ramp is made from its URL path, `/NAME`. */
export const SAMPLE_FILES: ReadonlyArray<readonly [string, number]> = [
  ['0.bin', 0],
  ['1.bin', 1],
  ['1k.bin', KIB],
  ['16k.bin', 16 * KIB],
  ['64k.bin', 64 * KIB],
  ['256k.bin', 256 * KIB],
  ['1m.bin', KIB * KIB],
  ['10m.bin', 10 * KIB * KIB],
];

/** Writes the ramp of `/NAME` to `directory/NAME`. */
export function writeRamp(directory: string, name: string, sizeBytes: number): void {
  const fd = openSync(join(directory, name), 'w');
  try {
    for (let offset = 0; offset < sizeBytes; offset += CHUNK_BYTES) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, sizeBytes - offset));
      fillRamp(chunk, `/${name}`, sizeBytes, offset);
      writeSync(fd, chunk);
    }
  } finally {
    closeSync(fd);
  }
}

export function writeSampleSite(directory: string): void {
  mkdirSync(directory, { recursive: true });
  for (const [name, sizeBytes] of SAMPLE_FILES) writeRamp(directory, name, sizeBytes);
  const items = SAMPLE_FILES.map(
    ([name, sizeBytes]) => `<li><a href="/${name}">${name}</a>, ${sizeBytes} bytes`,
  );
  const page = `<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Baton lab</title>\n<h1>Baton lab</h1>\n<ul>\n${items.join('\n')}\n</ul>\n`;
  writeFileSync(join(directory, 'index.html'), page);
}
