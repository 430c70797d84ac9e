/** A lab as text or JSON. */
import type { LabStatus } from '../lab/lab.ts';
import { describeBoost } from './boost.ts';
import type { LabBoost } from './lab-boosts.ts';
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
  const secured =
    lab.authority === null
      ? ''
      : `\n  baton lab exec${named(lab)} client -- curl -si --cacert ${lab.authority} https://${first}/`;
  console.log(`
Next:
  baton lab exec${named(lab)} client -- curl -si http://${first}/${secured}
  baton lab exec${named(lab)} ${first} -- curl -s http://127.0.0.1:9900/metrics
  baton lab status${named(lab)}
  baton lab down${named(lab)}`);
}

export function printStatus(lab: LabStatus & { readonly boosts: readonly LabBoost[] }, json: boolean): void {
  if (json) {
    printJson(lab);
    return;
  }
  printNodes(lab);
  printBoosts(lab.boosts);
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

function printBoosts(boosts: readonly LabBoost[]): void {
  if (boosts.length === 0) return;
  const rows = boosts.map((boost) => {
    const clients = Object.entries(boost.clients).map(([booster, count]) => `${booster} ${count}`);
    const since = boost.forMs === null ? '-' : `${(boost.forMs / 1000).toFixed(1)} s`;
    return [boost.node, describeBoost(boost), since, clients.join(', ') || '0'];
  });
  console.log(`\n${table([['node', 'boost', 'for', 'clients at boosters'], ...rows])}`);
}

function printNodes(lab: LabStatus): void {
  const rows = lab.nodes.map((node) => {
    const [pub = '-', pub6 = '-'] = node.public;
    const state = node.pid === null ? 'down' : node.ready ? 'ready' : 'not ready';
    return [node.name, state, node.pid === null ? '-' : String(node.pid), node.address, pub, pub6];
  });
  console.log(
    `lab ${lab.name}: client in ${lab.client.namespace}, logs and configuration in ${lab.directory}\n`,
  );
  console.log(table([['node', 'state', 'pid', 'address', 'public', 'public (IPv6)'], ...rows]));
}
