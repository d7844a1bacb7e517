// The server on an empty data folder; tells where it listens, and ends at the first line it is sent.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serve } from '../apps/server/main.ts';
import { modelFiles } from '../tests/support/model.ts';
import { answerLines, tell } from './child.ts';

const dataFolder = await mkdtemp(join(tmpdir(), 'rapport-bench-'));
const running = await serve({
  port: 0,
  host: '127.0.0.1',
  dataFolder,
  model: await modelFiles(),
  log: () => undefined,
});
tell({ url: running.url.replace('localhost', '127.0.0.1') });
await answerLines(async () => {
  await running.close();
  await rm(dataFolder, { recursive: true, force: true });
  return {};
});
process.exit(0);
