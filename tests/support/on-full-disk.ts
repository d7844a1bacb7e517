// Works on a data folder of a file system that fills up, and prints as JSON what became of it.
import { readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createApp } from '../../apps/server/app.ts';
import { openContext } from '../../apps/server/context.ts';
import { enrol } from '../../apps/server/store/devices.ts';
import { countJudgements } from '../../apps/server/store/events.ts';
import { inWords } from '../../apps/server/store/full-disk.ts';
import { aVote } from '../../apps/server/store/test-store.ts';

const FREE_BYTES = 300_000;
const folder = process.argv[2]!;
const { db, blobs, ...context } = await openContext(folder);
const app = createApp({ db, blobs, ...context }, { log: () => {} });
const { token } = await enrol(db);
const send = (events: unknown[]) =>
  app.request('/v1/events', {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ proto: 1, events }),
  });

const { bavail, bsize } = await statfs(folder);
const filler = join(folder, 'filler');
await writeFile(filler, Buffer.alloc(bavail * bsize - FREE_BYTES));

const blob = await blobs.put(Buffer.alloc(2 * FREE_BYTES), 'large').then(
  () => 'kept',
  (error: unknown) => (inWords(error) as { code: string }).code,
);
const left = await readdir(join(folder, 'blobs'));

let acknowledged = 0;
let refused = [aVote()];
let answer = await send(refused);
while (answer.status === 200) {
  acknowledged += refused.length;
  refused = Array.from({ length: 50 }, () => aVote());
  answer = await send(refused);
}
const refusal = { status: answer.status, ...((await answer.json()) as { code: string }) };
const { votes: kept } = await countJudgements(db);

await rm(filler);
const again = await send(refused);
const { votes: after } = await countJudgements(db);
await context.close();
const { status, code } = refusal;
console.log(
  JSON.stringify({
    blob,
    left,
    refusal: { status, code },
    lost: acknowledged - kept,
    again: again.status,
    added: after - kept - refused.length,
  }),
);
