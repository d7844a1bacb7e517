// Groups of bars as SVG: each group to its own scale, with the median in figures and the spread as a line.
import { figure } from './rows.ts';

export interface Bar {
  label: string;
  value: number;
  low: number;
  high: number;
}

export interface Group {
  title: string;
  bars: Bar[];
}

const WIDTH = 760;
const LABEL_WIDTH = 300;
const FIGURE_WIDTH = 70;
const BAR_HEIGHT = 16;
const TITLE_HEIGHT = 28;
const SCALE_WIDTH = WIDTH - LABEL_WIDTH - FIGURE_WIDTH;

const STYLE = `text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}
.bar{fill:#8fb3d9}.own{fill:#2f6fb0}.spread{stroke:#222}
@media(prefers-color-scheme:dark){text{fill:#ddd}.bar{fill:#44617f}.own{fill:#6fa8e0}.spread{stroke:#ddd}}`;

/** An SVG document that shows every group below the last. */
export function chart(groups: readonly Group[]): string {
  let y = 0;
  const parts = groups.flatMap(({ title, bars }) => {
    y += TITLE_HEIGHT;
    const heading = `<text class="title" x="0" y="${y - 8}">${escaped(title)}</text>`;
    const longest = Math.max(...bars.map(({ high }) => high));
    const drawn = bars.map((bar) => {
      const line = drawBar(bar, y, longest > 0 ? SCALE_WIDTH / longest : 0);
      y += BAR_HEIGHT;
      return line;
    });
    return [heading, ...drawn];
  });
  const height = y + 8;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}">`,
    `<style>${STYLE}</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function drawBar({ label, value, low, high }: Bar, y: number, scale: number): string {
  const at = (x: number) => (LABEL_WIDTH + x * scale).toFixed(1);
  const middle = y + BAR_HEIGHT / 2;
  const own = /\bown\b/.test(label) ? ' own' : '';
  return [
    `<text x="0" y="${middle + 4}">${escaped(label)}</text>`,
    `<rect class="bar${own}" x="${LABEL_WIDTH}" y="${y + 2}" width="${(value * scale).toFixed(1)}" height="${BAR_HEIGHT - 4}"/>`,
    `<line class="spread" x1="${at(low)}" x2="${at(high)}" y1="${middle}" y2="${middle}"/>`,
    `<text x="${WIDTH}" y="${middle + 4}" text-anchor="end">${figure(value)}</text>`,
  ].join('');
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
