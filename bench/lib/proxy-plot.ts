/** The results of `against-proxies` drawn: processor time of a request over its size, one panel a kind. Pure. */
import {
  type Figures,
  isUsual,
  KINDS,
  type Kind,
  type Point,
  type ProxyResults,
  SYSTEMS,
  type System,
} from './proxy-results.ts';
import { sizeText } from './proxy-table.ts';

const PANEL_WIDTH = 330;
const PANEL_HEIGHT = 300;
const MARGIN = { left: 62, top: 62, right: 14, bottom: 76 };
const LEGEND_STEP = 110;
const DASHES: Partial<Record<System, string>> = { haproxy: '6 3', nginx: '2 3' };
/** Told apart with any colour vision (Okabe and Ito). */
const COLOURS: Record<System, string> = {
  auto: '#000000',
  relay: '#56b4e9',
  anchor: '#0072b2',
  clone: '#009e73',
  local: '#999999',
  haproxy: '#d55e00',
  nginx: '#e69f00',
};
const NAMES: Partial<Record<System, string>> = { haproxy: 'HAProxy', nginx: 'nginx' };

interface Panel {
  readonly kind: Kind;
  readonly points: readonly Point[];
  readonly x: number;
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const text = (x: number, y: number, value: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(value)}</text>`;

export function drawProxies(results: ProxyResults): string {
  const points = results.points.filter(isUsual);
  const kinds = KINDS.filter((kind) => points.some((point) => point.kind === kind));
  const panels = kinds.map(
    (kind, i): Panel => ({
      kind,
      points: points.filter((point) => point.kind === kind),
      x: MARGIN.left + i * (PANEL_WIDTH + MARGIN.left),
    }),
  );
  const width = panels.length * (PANEL_WIDTH + MARGIN.left) + MARGIN.right;
  const height = MARGIN.top + PANEL_HEIGHT + MARGIN.bottom;
  const all = points.flatMap(({ systems }) => Object.values(systems).map(({ us }: Figures) => us));
  const decades = {
    from: Math.floor(Math.log10(Math.min(...all))),
    to: Math.ceil(Math.log10(Math.max(...all))),
  };
  const yOf = (us: number) =>
    MARGIN.top + PANEL_HEIGHT * (1 - (Math.log10(us) - decades.from) / (decades.to - decades.from));
  const { machine, date, versions } = results;
  const of = `${machine}; HAProxy ${versions.haproxy}, nginx ${versions.nginx}, wrk ${versions.wrk}; ${date}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(
      MARGIN.left,
      22,
      'Processor time of a request in microseconds, by size of the response',
      'font-size="15"',
    ),
    ...panels.flatMap((panel) => drawPanel(panel, decades, yOf)),
    ...legend(results.points, height - 34),
    text(MARGIN.left, height - 10, of, 'font-size="10" fill="#555"'),
    '</svg>',
    '',
  ].join('\n');
}

function drawPanel(
  { kind, points, x }: Panel,
  decades: { from: number; to: number },
  yOf: (us: number) => number,
): string[] {
  const xOf = (index: number) => x + (PANEL_WIDTH * (index + 0.5)) / points.length;
  const bottom = MARGIN.top + PANEL_HEIGHT;
  const frame = `<rect x="${x}" y="${MARGIN.top}" width="${PANEL_WIDTH}" height="${PANEL_HEIGHT}" fill="none" stroke="#888"/>`;
  const title = { kept: 'kept connections', new: 'new connections', mixed: 'one request in eight the last' }[
    kind
  ];
  const grid = Array.from(
    { length: decades.to - decades.from + 1 },
    (_, i) => 10 ** (decades.from + i),
  ).flatMap((us) => [
    `<line x1="${x}" x2="${x + PANEL_WIDTH}" y1="${yOf(us).toFixed(1)}" y2="${yOf(us).toFixed(1)}" stroke="#ddd"/>`,
    text(x - 6, yOf(us) + 4, us.toLocaleString('en-US'), 'text-anchor="end"'),
  ]);
  const sizes = points.map(({ bytes }, i) =>
    text(xOf(i), bottom + 16, sizeText(bytes), 'text-anchor="middle"'),
  );
  const lines = SYSTEMS.flatMap((name) => {
    const at = points.flatMap(({ systems }, i) => {
      const figures = systems[name];
      return figures === undefined ? [] : [[xOf(i), yOf(figures.us)] as const];
    });
    if (at.length === 0) return [];
    const path = at.map(([px, py], i) => `${i === 0 ? 'M' : 'L'}${px.toFixed(1)} ${py.toFixed(1)}`).join('');
    return [
      `<path d="${path}" ${stroke(name)}/>`,
      ...at.map(
        ([px, py]) => `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="2.5" fill="${COLOURS[name]}"/>`,
      ),
    ];
  });
  // What is chosen lies over what it is chosen among.
  return [
    ...grid,
    frame,
    text(x, MARGIN.top - 10, title, 'font-weight="bold"'),
    ...sizes,
    ...lines.reverse(),
  ];
}

function stroke(name: System): string {
  const dashes = DASHES[name];
  const width = name === 'auto' ? 2.5 : 1.5;
  const dashed = dashes === undefined ? '' : ` stroke-dasharray="${dashes}"`;
  return `fill="none" stroke="${COLOURS[name]}" stroke-width="${width}"${dashed}`;
}

function legend(points: readonly Point[], y: number): string[] {
  return SYSTEMS.filter((name) => points.some(({ systems }) => systems[name] !== undefined)).flatMap(
    (name, i) => {
      const x = MARGIN.left + i * LEGEND_STEP;
      return [
        `<line x1="${x}" x2="${x + 26}" y1="${y - 4}" y2="${y - 4}" ${stroke(name)}/>`,
        text(x + 32, y, NAMES[name] ?? name),
      ];
    },
  );
}
