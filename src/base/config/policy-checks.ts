/** What must hold within a site's `policy`, and between it and the rest of the site. */
import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { ConfigProblem } from './error.ts';
import { nearest } from './nearest.ts';
import type { PolicyValue } from './policy-schema.ts';
import type { SiteValue } from './schema.ts';
import type { Path, Source } from './source.ts';
import { importsTypeScript } from './typescript.ts';

/** `serving`: names of the nodes that serve the site. */
export function checkPolicy(
  source: Source,
  index: number,
  site: SiteValue,
  serving: readonly string[],
): ConfigProblem[] {
  const { policy, mechanism } = site;
  const path = ['sites', index, 'policy'];
  const problems = checkKeys(source, path, policy);
  if (policy.module !== undefined) problems.push(...checkModule(source, [...path, 'module'], policy.module));
  for (const [at, rule] of (policy.rules ?? []).entries()) {
    const rulePath = [...path, 'rules', at];
    if (rule.path !== undefined && rule.regex !== undefined) {
      problems.push(source.problem([...rulePath, 'regex'], 'key', 'a rule has a path or a regex, not both'));
    }
    if ((rule.minBytes ?? 0) > (rule.maxBytes ?? Number.POSITIVE_INFINITY)) {
      problems.push(source.problem([...rulePath, 'minBytes'], 'value', 'minBytes is more than maxBytes'));
    }
    for (const [place, name] of rule.nodes.entries()) {
      if (serving.includes(name)) continue;
      const near = nearest(name, serving);
      const hint = near === undefined ? `nodes that do are ${serving.join(', ')}` : `did you mean ${near}?`;
      const message = `node ${name} does not serve site ${site.name}`;
      problems.push(source.problem([...rulePath, 'nodes', place], 'value', message, hint));
    }
  }
  const isRemote = policy.name === 'class' || policy.name === 'cached' || policy.module !== undefined;
  if (mechanism === 'local' && isRemote) {
    const message = `site ${site.name} has mechanism local, which asks no policy`;
    problems.push(source.problem(path, 'key', message, 'choose another mechanism, or remove the policy'));
  }
  if (site.clone.keep) problems.push(...checkKeep(source, index, site));
  return problems;
}

/** With clone.keep two nodes choose for the same request, and must choose the same. */
function checkKeep(source: Source, index: number, site: SiteValue): ConfigProblem[] {
  const path = ['sites', index, 'clone', 'keep'];
  const problem = (message: string, hint: string) => [source.problem(path, 'value', message, hint)];
  const { policy, mechanism, catalogue } = site;
  if (mechanism !== 'clone')
    return problem(`site ${site.name} has mechanism ${mechanism}`, 'keep is an option of mechanism clone');
  if (catalogue) return problem('nodes may know different catalogues', 'remove catalogue, or remove keep');
  const isRepeatable =
    policy.name === 'hash' || (policy.name === 'class' && policy.fallback === 'hash' && dependOnPath(policy));
  if (isRepeatable) return [];
  return problem(
    `what ${policy.module === undefined ? `policy ${policy.name}` : 'a policy module'} chooses here another node cannot repeat`,
    'keep needs policy hash, or classes by path or regex alone with fallback: hash',
  );
}

function dependOnPath({ rules = [] }: PolicyValue): boolean {
  return rules.every(
    (rule) =>
      rule.minBytes === undefined && rule.maxBytes === undefined && rule.popularPermille === undefined,
  );
}

/** Keys that need, or exclude, one another. */
function checkKeys(source: Source, path: Path, policy: PolicyValue): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const problem = (key: string, message: string) => {
    const hint =
      'a policy is a name, { name: class, rules, fallback }, { name: delegate, percent }, or { module, options }';
    problems.push(source.problem(key === '' ? path : [...path, key], 'key', message, hint));
  };
  const { name, module, rules, fallback, options, percent, requestsPerSecond, cpuPermille } = policy;
  if (name === undefined && module === undefined) problem('', 'the policy has neither name nor module');
  if (name !== undefined && module !== undefined) problem('module', 'the policy has a name already');
  if (name === 'class' && rules === undefined) problem('', 'policy class needs rules');
  if (name !== 'class' && rules !== undefined) problem('rules', 'only policy class has rules');
  if (name !== 'class' && fallback !== undefined) problem('fallback', 'only policy class has a fallback');
  for (const [key, value] of Object.entries({ percent, requestsPerSecond, cpuPermille }))
    if (name !== 'delegate' && value !== undefined) problem(key, `only policy delegate has ${key}`);
  if (module === undefined && options !== undefined) problem('options', 'only a module has options');
  return problems;
}

function checkModule(source: Source, path: Path, module: string): ConfigProblem[] {
  const file = resolve(dirname(source.file), module);
  if (!/\.[mc]?[jt]s$/.test(file)) {
    return [source.problem(path, 'value', `policy module ${module} is neither .js nor .ts`)];
  }
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true) {
    return [source.problem(path, 'value', `there is no policy module ${file}`)];
  }
  if (/ts$/.test(file) && !importsTypeScript()) {
    const message = `Node.js ${process.version} cannot import TypeScript: ${module}`;
    return [source.problem(path, 'value', message, 'give a .js file, or run Node.js 22.18 or later')];
  }
  return [];
}
