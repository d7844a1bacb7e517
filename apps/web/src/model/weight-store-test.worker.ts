// Runs one scenario on the real private file system, which hands out fast handles to workers only.
import { WeightStore } from './weight-store.ts';

const digest = (letter: string) => letter.repeat(64);
const bytes = (...values: number[]) => Uint8Array.from(values);

async function scenario() {
  const store = await WeightStore.open();
  await store.keepOnly([]);
  const first = await store.part(digest('a'));
  first.append(bytes(1, 2, 3));
  first.close();

  const again = await store.part(digest('a'));
  const resumedAt = again.sizeBytes();
  again.truncate(2);
  again.append(bytes(9));
  const unfinished = await store.find(digest('a'));
  await again.finish();
  const kept = await store.find(digest('a'));

  const other = await store.part(digest('b'));
  await other.finish();
  // As two tabs do when a release comes, while a third brings another file.
  const arriving = await store.part(digest('c'));
  await Promise.all([store.keepOnly([digest('a')]), store.keepOnly([digest('a')])]);
  await arriving.finish();
  return {
    resumedAt,
    unfinished: unfinished === undefined,
    kept: [...new Uint8Array(await kept!.arrayBuffer())],
    dropped: (await store.find(digest('b'))) === undefined,
    arrived: (await store.find(digest('c'))) !== undefined,
  };
}

void scenario().then(
  (result) => postMessage(result),
  (error: Error) => postMessage({ error: `${error.name}: ${error.message}` }),
);
