/**
 * `npm run figures`: draws docs/figures/against-proxies.svg from the results beside it, and puts their table into
 * docs/figures.md, between two marks.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { drawProxies } from './lib/proxy-plot.ts';
import { readResults } from './lib/proxy-results.ts';
import { proxyTable, withTable } from './lib/proxy-table.ts';

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
const results = readResults(join(DOCS, 'figures/against-proxies.json'));
writeFileSync(join(DOCS, 'figures/against-proxies.svg'), drawProxies(results));
const document = join(DOCS, 'figures.md');
writeFileSync(document, withTable(readFileSync(document, 'utf8'), proxyTable(results)));
