/** A lab as text or JSON. */
import type { LabStatus } from '../lab/lab.ts';
import { table } from './table.ts';

const named = (lab: LabStatus): string => (lab.name === 'lab' ? '' : ` --name ${lab.name}`);

/** After `lab up`: what there is, and what to do with it. */
export function printLab(lab: LabStatus, json: boolean): void {
  if (json) {
    printJson(lab);
    return;
  }
  printNodes(lab);
  const first = lab.nodes[0].name;
  console.log(`
Next:
  baton lab exec${named(lab)} client -- curl -si http://${first}/
  baton lab exec${named(lab)} ${first} -- curl -s http://127.0.0.1:9900/metrics
  baton lab status${named(lab)}
  baton lab down${named(lab)}`);
}

export function printStatus(lab: LabStatus, json: boolean): void {
  if (json) {
    printJson(lab);
    return;
  }
  printNodes(lab);
  if (lab.shaper === 'netem') console.log('\nclient link: netem');
  if (lab.hop === null) return;
  const rows = [
    ["client's link", 'frames', 'bytes', 'lost', 'overflows'],
    ...(['forth', 'back'] as const).map((way) => {
      const { forwarded, bytes, lost, overflows } = lab.hop![way];
      return [way === 'forth' ? 'to the cluster' : 'to the client', forwarded, bytes, lost, overflows].map(
        String,
      );
    }),
  ];
  console.log(`\n${table(rows)}`);
}

function printJson(lab: LabStatus): void {
  console.log(JSON.stringify(lab, null, 2));
}

function printNodes(lab: LabStatus): void {
  const rows = lab.nodes.map((node) => {
    const state = node.pid === null ? 'down' : node.ready ? 'ready' : 'not ready';
    return [node.name, state, node.pid === null ? '-' : String(node.pid), node.address, ...node.public];
  });
  console.log(
    `lab ${lab.name}: client in ${lab.client.namespace}, logs and configuration in ${lab.directory}\n`,
  );
  console.log(table([['node', 'state', 'pid', 'address', 'public', 'public (IPv6)'], ...rows]));
}
