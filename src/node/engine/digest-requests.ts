/** What an engine has asked the main thread to read: large files whose bytes it has to vouch for. */
import type { DigestFile } from '../../protocol/http/file-cache.ts';
import type { FromEngine } from './messages.ts';

export class DigestRequests {
  readonly #maxBytes: number;
  readonly #post: (message: FromEngine) => void;
  readonly #asked = new Map<number, (digest: string | null) => void>();
  #lastId = 0;

  /** `maxBytes`: larger files are not read. */
  constructor(maxBytes: number, post: (message: FromEngine) => void) {
    this.#maxBytes = maxBytes;
    this.#post = post;
  }

  readonly ask: DigestFile = ({ fd, version, sizeBytes }, done) => {
    if (sizeBytes > this.#maxBytes) return done(null);
    const id = ++this.#lastId;
    this.#asked.set(id, done);
    this.#post({ type: 'digest', id, fd, version, sizeBytes });
  };

  /** The main thread's answer. */
  take(id: number, digest: string | null): void {
    const done = this.#asked.get(id);
    this.#asked.delete(id);
    done?.(digest);
  }
}
