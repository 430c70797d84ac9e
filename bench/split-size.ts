/**
 * The splitting paper's figure 10: requests of 4 to 32 KB (and larger ones), both servers with as many clients, each delegating 25 % to
 * the other, against the two without splitting (the paper at 4 KB: 14,428 of a possible 16,000, and little difference
 * for larger files); and from which size on the ratios of split-scaleup hold against one server.
 */
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site, type SizeName } from './lib/site.ts';
import { NODES, Splitting } from './lib/splitting.ts';
import { capacity } from './lib/wrk.ts';

const SECONDS = 1;
const ROUNDS = 2;
const SIZES: readonly SizeName[] = ['4k', '10k', '16k', '32k', '256k', '1m'];
const BOTH_PERCENT = 25;
const ONE_WAY_PERCENT = 50;
const PUBLISHED_4K = 14_428 / 16_000;

export async function splitSize(report: Report): Promise<void> {
  const site = new Site(NODES);
  for (const size of SIZES) site.path(size, 'a');
  const whole = await Splitting.up('b1', site.root, 0);
  const split = await Splitting.up('b2', site.root, BOTH_PERCENT);
  const behind = await Splitting.up('b3', site.root, ONE_WAY_PERCENT);
  const unit = 'requests/s of processor time of the busiest node';
  for (const size of SIZES) {
    const path = site.path(size, 'a');
    const rounds = await alternate(
      [
        () => whole.load('one-way', path, SECONDS),
        () => whole.load('both-ways', path, SECONDS),
        () => split.load('both-ways', path, SECONDS),
        () => behind.load('one-way', path, SECONDS),
      ],
      ROUNDS,
    );
    const [one, two, both, oneWay] = rounds.map((side) => medianOf(side, capacity));
    const published = size === '4k' ? { published: PUBLISHED_4K } : {};
    report({ name: `split-size.${size}`, value: both, unit, baseline: two, target: null, ...published });
    report({
      name: `split-size.${size}.both-ways`,
      value: both,
      unit,
      baseline: one,
      target: '>= 1.8',
    });
    report({ name: `split-size.${size}.one-way`, value: oneWay, unit, baseline: one, target: '>= 1.5' });
  }
  for (const system of [whole, split, behind]) system.down();
}
