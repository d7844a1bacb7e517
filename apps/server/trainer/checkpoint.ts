// What a stopped attempt leaves for the next: plain data with arrays and maps, in one file that is
// whole or not there.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { Platform } from '@rapport/rlhf';
import { writeWhole } from '../store/write-whole.ts';

type State = NonNullable<Platform['resume']>;

/** The state an earlier attempt saved, or undefined. */
export async function loadCheckpoint(folder: string): Promise<State | undefined> {
  const bytes = await readFile(join(folder, 'state')).catch(() => undefined);
  return bytes && (deserialize(bytes) as State);
}

/** Saves a state over the one before it. */
export const saveCheckpoint = (folder: string, state: State): Promise<void> =>
  writeWhole(join(folder, 'state'), serialize(state));
