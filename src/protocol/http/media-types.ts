/** Media types by the ending of a file's name (RFC 9110 8.3). */
import { lookup } from 'mrmime';

const UNKNOWN = 'application/octet-stream';

/** What media sites have and the general table lacks. */
const MEDIA: ReadonlyMap<string, string> = new Map([
  ['3g2', 'video/3gpp2'],
  ['ac3', 'audio/ac3'],
  ['aif', 'audio/aiff'],
  ['aiff', 'audio/aiff'],
  ['ass', 'text/x-ssa'],
  ['avi', 'video/x-msvideo'],
  ['cmfa', 'audio/mp4'],
  ['cmfv', 'video/mp4'],
  ['cue', 'application/x-cue'],
  ['dfxp', 'application/ttml+xml'],
  ['eac3', 'audio/eac3'],
  ['f4v', 'video/mp4'],
  ['flac', 'audio/flac'],
  ['flv', 'video/x-flv'],
  ['ico', 'image/vnd.microsoft.icon'],
  ['lrc', 'text/plain'],
  ['m3u', 'audio/x-mpegurl'],
  ['m3u8', 'application/vnd.apple.mpegurl'],
  ['m4b', 'audio/mp4'],
  ['m4v', 'video/x-m4v'],
  ['mka', 'audio/x-matroska'],
  ['mkv', 'video/x-matroska'],
  ['sbv', 'text/plain'],
  ['srt', 'application/x-subrip'],
  ['ssa', 'text/x-ssa'],
  ['sub', 'text/plain'],
  ['usdz', 'model/vnd.usdz+zip'],
  ['wma', 'audio/x-ms-wma'],
  ['wmv', 'video/x-ms-wmv'],
  ['7z', 'application/x-7z-compressed'],
  ['apk', 'application/vnd.android.package-archive'],
]);

/** Types by ending, lower case and without its dot: those of a site stand before those known here. */
export type MediaTypes = Readonly<Record<string, string>>;

/** The value of Content-Type for a file's name. */
export function contentType(name: string, own: MediaTypes): string {
  const dot = name.lastIndexOf('.');
  if (dot <= name.lastIndexOf('/')) return UNKNOWN;
  const ending = name.substring(dot + 1).toLowerCase();
  // The configured type as it was written: whoever names a type names its charset as well.
  if (Object.hasOwn(own, ending)) return own[ending];
  // The general table is a plain object: it has a `constructor`, too.
  const known: unknown = MEDIA.get(ending) ?? lookup(ending);
  const type = typeof known === 'string' ? known : UNKNOWN;
  return type.startsWith('text/') ? `${type}; charset=utf-8` : type;
}
