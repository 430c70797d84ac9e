/** Has every request of a connection reported once: when it is answered, or when the connection ends before that. */
import type { DeliveryResult, SoFar } from '../handoff/request/delivery.ts';
import type { Request } from '../serve/request.ts';
import type { Site } from '../serve/sites.ts';
import type { AccessRecords, Reported } from './access-records.ts';

export class Reporting {
  readonly #access: Pick<AccessRecords, 'answered' | 'cut'>;
  readonly #client: { readonly clientText: string };
  readonly #clock: { readonly wallMs: number };
  #arrived = false;
  #isDone = true;

  constructor(
    access: Pick<AccessRecords, 'answered' | 'cut'>,
    client: { readonly clientText: string },
    clock: { readonly wallMs: number },
  ) {
    this.#access = access;
    this.#client = client;
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
    const { clientText: client } = this.#client;
    const { wallMs } = this.#clock;
    return { client, request, site: site?.config.name ?? null, arrived: this.#arrived, wallMs };
  }
}
