/** Which nodes of a lab are boosted, since when, why, and how many clients boosters have for them. */
import type { BoostStatus } from '../../cluster/boosting.ts';
import type { EngineStatus } from '../../node/engine/messages.ts';
import type { Lab, LabStatus } from '../lab/lab.ts';

export interface LabBoost extends BoostStatus {
  readonly node: string;
  /** Clients by booster. */
  readonly clients: Readonly<Record<string, number>>;
}

/**
 * The status of a node's engines; none when its process has ended since, or is another command that says no more than
 * that it is ready.
 */
async function enginesOf(lab: Lab, node: string): Promise<readonly EngineStatus[]> {
  try {
    const { engines = [] } = (await lab.admin(node, '/api/status')) as { engines?: EngineStatus[] };
    return engines;
  } catch {
    return [];
  }
}

/** The state of all running nodes that have boosters. */
export async function labBoosts(lab: Lab, { nodes }: LabStatus): Promise<LabBoost[]> {
  const running = nodes.filter(({ ready }) => ready);
  const all = await Promise.all(
    running.map(async ({ name }) => ({ name, engines: await enginesOf(lab, name) })),
  );
  const clientsOf = (origin: string) =>
    all.flatMap(({ name, engines }): Array<[string, number]> => {
      const count = engines.reduce((sum, { boosted }) => sum + (boosted?.[origin] ?? 0), 0);
      return count > 0 ? [[name, count]] : [];
    });
  return all.flatMap(({ name, engines }) => {
    const boost = engines.find((engine) => engine.boost !== null)?.boost;
    return boost ? [{ node: name, ...boost, clients: Object.fromEntries(clientsOf(name)) }] : [];
  });
}
