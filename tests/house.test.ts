// What the README says about the house, and what the lock file must hold.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const documents = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];

test('there is one ONNX Runtime version in the whole tree', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { version?: string }>;
  };
  const found = Object.entries(packages).filter(([path]) => /\/onnxruntime-[a-z]+$/.test(path));
  expect(found.map(([path]) => path).sort()).toEqual([
    'node_modules/onnxruntime-common',
    'node_modules/onnxruntime-node',
    'node_modules/onnxruntime-web',
  ]);
  expect(new Set(found.map(([, { version }]) => version))).toEqual(new Set(['1.30.0']));
});

test('every path of the tree in the README exists', () => {
  const tree = read('README.md').split('## The tree')[1] ?? '';
  const paths = [...tree.matchAll(/^\| `([^`]+)`/gm)].map(([, path = '']) => path);
  expect(paths.length).toBeGreaterThan(10);
  expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test.each(documents.filter((path) => path.endsWith('.md')))(
  'links in %s lead somewhere',
  (path) => {
    const links = [...read(path).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(
      ([, link = '']) => link,
    );
    expect(links.filter((link) => !existsSync(join(root, dirname(path), link)))).toEqual([]);
  },
);

test('every name in docs/papers.md is in the file it is said to be in, and its test is there', () => {
  const row = /\| `([^`]+\.ts)` +\| `(\w+)` +\| `([^`]+\.test\.ts)`/g;
  const rows = [...read('docs/papers.md').matchAll(row)];
  expect(rows.length).toBe(read('docs/papers.md').match(/^\|/gm)!.length - 2);
  const fileOf = (path: string) =>
    path.startsWith('packages/') ? path : `packages/rlhf/src/${path}`;
  const wrong = rows.filter(([, path = '', name = '', shown = '']) => {
    const [file, test] = [fileOf(path), fileOf(shown)];
    const there = existsSync(join(root, file)) && existsSync(join(root, test));
    return !there || !new RegExp(`\\b${name}\\b`).test(read(file));
  });
  expect(wrong.map(([text]) => text)).toEqual([]);
});
