import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { chart } from './chart.ts';
import { groupsOf, ratioTable, replaceSection, writeReport } from './report.ts';
import { missingRow, rowOf } from './rows.ts';

const row = (engine: string, unit: string, runs: number[], workload = 'decode') =>
  rowOf({ suite: 'inference', workload, engine, metric: 'm', unit }, runs);

test('a section is put at the end once, and replaced where it stands ever after', () => {
  const first = replaceSection('# B\n', 'a', 'one');
  const both = `${replaceSection(first, 'b', 'two')}\nBy hand.\n`;
  const again = replaceSection(both, 'a', 'three');
  expect(again).toBe(both.replace('one', 'three'));
  expect(again).toContain('By hand.');
});

test('we are so many times as fast: less time, or more speed', () => {
  const rows = [
    row('own SIMD kernels', 'ms', [20]),
    row('wllama', 'ms', [50]),
    row('limit: bandwidth', 'ms', [5]),
    row('Node: llama.cpp', 'ms', [8]),
    row('own autodiff, Node', 'tokens/s', [300]),
    row('PyTorch', 'tokens/s', [200]),
    row('own autodiff, Node', 'GFLOP/s', [150]),
    row('PyTorch', 'GFLOP/s', [100]),
    missingRow({ suite: 'inference', workload: 'decode', engine: 'WebLLM' }, 'no adapter'),
  ];
  expect(ratioTable(rows).split('\n').slice(2)).toEqual([
    '| decode | own SIMD kernels | wllama | 2.50 |',
    '| decode | own autodiff, Node | PyTorch | 1.50 |',
  ]);
});

test('bars are as long as their figures, each group to its own scale', () => {
  const svg = chart([
    { title: 'a < b', bars: [bar('own', 10), bar('other', 5)] },
    { title: 'small', bars: [bar('tiny', 0.1)] },
  ]);
  const widths = [...svg.matchAll(/width="([\d.]+)" height="12"/g)].map(([, w]) => Number(w));
  expect(widths[0]).toBe(2 * widths[1]!);
  expect(widths[2]).toBe(widths[0]);
  expect(svg).toContain('a &lt; b');
  expect(svg.match(/class="bar own"/g)).toHaveLength(1);
});

const bar = (label: string, value: number) => ({ label, value, low: value, high: value });

test('only what several engines have is drawn', () => {
  const rows = [row('a', 'ms', [1]), row('b', 'ms', [2]), row('a', 'ms', [3], 'alone')];
  expect(groupsOf(rows).map(({ bars }) => bars.length)).toEqual([2]);
});

test('a report keeps what people wrote and has table, ratios and drawing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rapport-report-'));
  try {
    const path = join(folder, 'benchmarks.md');
    await writeFile(path, '# Benchmarks\n\nWritten by a person.\n');
    const rows = [row('own SIMD kernels', 'ms', [1]), row('wllama', 'ms', [2])];
    await writeReport(path, {
      suite: 'inference',
      command: 'c',
      seconds: 3,
      machine: 'Two cores.',
      rows,
    });
    const text = await readFile(path, 'utf8');
    expect(text).toContain('Written by a person.');
    expect(text).toContain('Made by `c` in 3 s. Two cores.');
    expect(text).toMatch(/decode\s+\| own SIMD kernels \| wllama\s+\| 2.00/);
    expect(text).toMatch(/Targets: 0 met, 0 not met, \d+ not measured/);
    expect(await readFile(join(folder, 'images', 'bench-inference.svg'), 'utf8')).toContain('<svg');
  } finally {
    await rm(folder, { recursive: true });
  }
});
