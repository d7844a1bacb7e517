// What a build writes of itself; the bundle is scripted.
import { expect, test } from 'vitest';
import { shellList } from './vite.ts';

/** The service worker and the list of a build with these files. */
function build(...names: string[]): { worker: string; list: unknown } {
  const worker = { type: 'chunk', code: 'listen();' };
  const assets = names.map((name) => [name, { type: 'asset' }]);
  const bundle = { ...Object.fromEntries(assets), 'service-worker.js': worker };
  let list: unknown;
  const emitFile = ({ source }: { source: string }) => void (list = JSON.parse(source));
  const generate = shellList().generateBundle as unknown as (
    this: unknown,
    options: unknown,
    bundle: unknown,
  ) => void;
  generate.call({ emitFile }, {}, bundle);
  return { worker: worker.code, list };
}

test('another build has another service worker, which is installed anew', () => {
  const [one, two] = [build('assets/index-1.js'), build('assets/index-2.js')];
  expect(one.worker).toContain('listen();');
  expect(one.worker).not.toBe(two.worker);
  expect(build('assets/index-1.js').worker).toBe(one.worker);
});

test('the list has what the page needs without a network, and nothing else', () => {
  const { list } = build('assets/index-1.js', 'assets/kernels-1.wasm', 'assets/operator-1.js');
  expect(list).toEqual(['/', '/assets/index-1.js', '/assets/kernels-1.wasm']);
});
