/** Has every request of a connection reported once: when it is answered, or when the connection ends before that. */
import type { DeliveryResult, SoFar } from '../handoff/request/delivery.ts';
import type { Request } from '../serve/request.ts';
import type { Site } from '../serve/sites.ts';
import type { AccessRecords, Described, Reported } from './access-records.ts';

export class Reporting {
  readonly #access: Pick<AccessRecords, 'answered' | 'cut'>;
  readonly #from: { readonly client: Described };
  readonly #clock: { readonly wallMs: number };
  #arrived = false;
  #isDone = true;

  constructor(
    access: Pick<AccessRecords, 'answered' | 'cut'>,
    from: { readonly client: Described },
    clock: { readonly wallMs: number },
  ) {
    this.#access = access;
    this.#from = from;
    this.#clock = clock;
  }

  /** A request is in progress. `arrived`: the connection came in the middle of its response. */
  begin(arrived: boolean): void {
    this.#arrived = arrived;
    this.#isDone = false;
  }

  answered(request: Request, site: Site | null, result: DeliveryResult): void {
    this.#access.answered(this.#reported(request, site), result);
    this.#isDone = true;
  }

  /** No delivery has finished it; null: none is at work. `complete`: the client has the response all the same. */
  ended(request: Request, site: Site | null, soFar: SoFar | null, complete: boolean): void {
    if (this.#isDone) return;
    this.#access.cut(this.#reported(request, site), soFar, complete);
    this.#isDone = true;
  }

  #reported(request: Request, site: Site | null): Reported {
    const { client } = this.#from;
    const { wallMs } = this.#clock;
    return {
      client,
      request,
      site: site?.config.name ?? null,

      arrived: this.#arrived,
      wallMs,
    };
  }
}
