// A drawing as data: shapes, each with a class that says what it is. `svgOf` writes drawings as one document that
// knows light and dark; a page can make the same shapes its own elements. Knows nothing of what is drawn.

/** One shape. `at` holds its SVG attributes. */
export interface Mark {
  readonly tag: 'line' | 'path' | 'rect' | 'circle' | 'text';
  readonly class: string;
  readonly at: Readonly<Record<string, string | number>>;
  readonly text?: string;
}

export interface Drawing {
  readonly title: string;
  /** The figures in it, for those who do not see it. */
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly marks: readonly Mark[];
}

const TITLE_HEIGHT = 24;
const GAP = 16;

const STYLE = `text{font:10px system-ui,sans-serif;fill:#5d584c}
.paper{fill:#fff}.title{font-size:12px;font-weight:600;fill:#211f1a}.name,.value{fill:#211f1a}
.grid{stroke:#e4dfd4}.guide{stroke:#5d584c;stroke-dasharray:2 3;fill:none}
.line{fill:none;stroke-width:1.75;stroke-linejoin:round}.spread{stroke-width:1.5}.extent{stroke:#211f1a}.bar{fill:#a9d0c3}.bar.own{fill:#12685a}
.line.s0,.spread.s0{stroke:#12685a}.line.s1,.spread.s1{stroke:#8a5a00;stroke-dasharray:4 3}.line.s2,.spread.s2{stroke:#b3402c;stroke-dasharray:1 3}
.dot.s0{fill:#12685a}.dot.s1{fill:#8a5a00}.dot.s2{fill:#b3402c}
@media(prefers-color-scheme:dark){text{fill:#b5afa1}.paper{fill:#1e1d19}.title,.name,.value{fill:#eeeae1}
.grid{stroke:#34312a}.guide{stroke:#b5afa1}.extent{stroke:#eeeae1}.bar{fill:#34594d}.bar.own{fill:#7ccdb6}
.line.s0,.spread.s0{stroke:#7ccdb6}.line.s1,.spread.s1{stroke:#e6bd6a}.line.s2,.spread.s2{stroke:#ee9683}
.dot.s0{fill:#7ccdb6}.dot.s1{fill:#e6bd6a}.dot.s2{fill:#ee9683}}`;

/** One SVG document of all drawings, `columns` side by side, each under its title. */
export function svgOf(drawings: readonly Drawing[], columns = 1): string {
  const across = Math.min(columns, drawings.length);
  const cell = Math.max(...drawings.map((drawing) => drawing.width));
  const width = across * cell + (across + 1) * GAP;
  const groups: string[] = [];
  let y = GAP;
  for (let from = 0; from < drawings.length; from += across) {
    const row = drawings.slice(from, from + across);
    groups.push(...row.map((one, i) => groupOf(one, GAP + i * (cell + GAP), y, from + i)));
    y += TITLE_HEIGHT + Math.max(...row.map((one) => one.height)) + GAP;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}">`,
    `<style>${STYLE}</style>`,
    `<rect class="paper" width="${width}" height="${y}" rx="8"/>`,
    ...groups,
    '</svg>\n',
  ].join('\n');
}

function groupOf({ title, description, marks }: Drawing, x: number, y: number, id: number): string {
  const heading = written('title', 0, 12, title);
  return [
    `<g role="img" aria-labelledby="t${id} d${id}" transform="translate(${x} ${y})">`,
    `<title id="t${id}">${escaped(title)}</title><desc id="d${id}">${escaped(description)}</desc>`,
    elementOf(heading),
    `<g transform="translate(0 ${TITLE_HEIGHT})">`,
    ...marks.map(elementOf),
    '</g></g>',
  ].join('\n');
}

function elementOf({ tag, class: name, at, text }: Mark): string {
  const attributes = Object.entries({ class: name, ...at })
    .map(([key, value]) => `${key}="${escaped(String(value))}"`)
    .join(' ');
  return text === undefined
    ? `<${tag} ${attributes}/>`
    : `<${tag} ${attributes}>${escaped(text)}</${tag}>`;
}

const escaped = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');

/** A text whose baseline is at `y`. */
export const written = (
  name: string,
  x: number,
  y: number,
  text: string,
  anchor: 'start' | 'middle' | 'end' = 'start',
): Mark => ({
  tag: 'text',
  class: name,
  at: { x: pixel(x), y: pixel(y), ...(anchor !== 'start' && { 'text-anchor': anchor }) },
  text,
});

export const straight = (
  name: string,
  [x1, y1]: readonly [number, number],
  [x2, y2]: readonly [number, number],
): Mark => ({
  tag: 'line',
  class: name,
  at: { x1: pixel(x1), y1: pixel(y1), x2: pixel(x2), y2: pixel(y2) },
});

/** A tenth of a pixel is seen by nobody. */
export const pixel = (x: number): number => Math.round(10 * x) / 10;

/** Three digits, as far as they mean anything. */
export function threeDigits(x: number): string {
  const size = Math.abs(x);
  if (size >= 100) return x.toFixed(0);
  return size >= 0.01 || size === 0 ? x.toPrecision(3) : x.toExponential(1);
}
