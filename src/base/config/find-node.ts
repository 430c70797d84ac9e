/** A node of the cluster by the name that somebody typed. */
import { didYouMean } from './checks.ts';
import type { ClusterConfig, NodeConfig } from './config.ts';
import { ConfigError } from './error.ts';

/** Throws ConfigError when there is none of that name. */
export function findNode(config: ClusterConfig, name: string): NodeConfig {
  const node = config.nodes.find((one) => one.name === name);
  if (node !== undefined) return node;
  const names = config.nodes.map((one) => one.name);
  const message = `there is no node ${name}; nodes are ${names.join(', ')}`;
  throw new ConfigError([{ file: config.file, line: 1, column: 1, message, hint: didYouMean(name, names) }]);
}
