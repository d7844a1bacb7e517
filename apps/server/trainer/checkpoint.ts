// What a stopped attempt leaves for the next: plain data with arrays and maps, in one file that is
// whole or not there.
import { createHash } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { Platform } from '@rapport/rlhf';
import { writeWhole } from '../store/write-whole.ts';

type State = NonNullable<Platform['resume']>;

/**
 * Where the attempts of a run, in its `folder`, keep what they save with these inputs. What was saved with
 * others is removed: it counts judgements by their place, and some may be erased since.
 */
export async function checkpointOf(folder: string, inputs: readonly string[]): Promise<string> {
  const all = join(folder, 'checkpoint');
  const mine = createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 16);
  for (const name of await readdir(all).catch(() => []))
    if (name !== mine) await rm(join(all, name), { recursive: true });
  return join(all, mine);
}

/** The state an earlier attempt saved, or undefined. */
export async function loadCheckpoint(folder: string): Promise<State | undefined> {
  const bytes = await readFile(join(folder, 'state')).catch(() => undefined);
  return bytes && (deserialize(bytes) as State);
}

/** Saves a state over the one before it. */
export const saveCheckpoint = (folder: string, state: State): Promise<void> =>
  writeWhole(join(folder, 'state'), serialize(state));
