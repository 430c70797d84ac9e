/** Has every request of a connection reported once: when it is answered, or when the connection ends before that. */
import type { DeliveryResult, SoFar } from '../handoff/request/delivery.ts';
import type { Request } from '../serve/request.ts';
import type { Site } from '../serve/sites.ts';
import type { AccessRecords, Described, Reported } from './access-records.ts';
import type { BoostedClients } from './boosted-clients.ts';

export interface ReportingPorts {
  readonly access: Pick<AccessRecords, 'answered' | 'cut'>;
  readonly clock: { readonly wallMs: number };
  /** At a booster: what bounds its clients' requests in progress; null elsewhere. */
  readonly boosted: Pick<BoostedClients, 'answered'> | null;
}

export class Reporting {
  readonly #ports: ReportingPorts;
  readonly #from: { readonly client: Described; readonly fd: number };
  #arrived = false;
  #isDone = true;

  constructor(ports: ReportingPorts, from: { readonly client: Described; readonly fd: number }) {
    this.#ports = ports;
    this.#from = from;
  }

  /** A request is in progress. `arrived`: the connection came in the middle of its response. */
  begin(arrived: boolean): void {
    this.#arrived = arrived;
    this.#isDone = false;
  }

  answered(request: Request, site: Site | null, result: DeliveryResult): void {
    this.#ports.boosted?.answered(this.#from.fd);
    this.#ports.access.answered(this.#reported(request, site), result);
    this.#isDone = true;
  }

  /** No delivery has finished it; null: none is at work. `complete`: the client has the response all the same. */
  ended(request: Request, site: Site | null, soFar: SoFar | null, complete: boolean): void {
    if (this.#isDone) return;
    this.#ports.access.cut(this.#reported(request, site), soFar, complete);
    this.#isDone = true;
  }

  #reported(request: Request, site: Site | null): Reported {
    const { client } = this.#from;
    const { wallMs } = this.#ports.clock;
    return {
      client,
      request,
      site: site?.config.name ?? null,

      arrived: this.#arrived,
      wallMs,
    };
  }
}
