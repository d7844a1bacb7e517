// Which base model clients load: the stable release's, or while there is none the server's own.
import { RapportError, type BaseModel } from '@rapport/core';
import type { Database } from '../store/database.ts';
import { recall, remember } from '../store/settings.ts';
import { currentChannel } from './channel.ts';
import { addBase, findBase, findRelease } from './registry.ts';

/** Makes `base` the server's own model. */
export async function useBase(db: Database, base: BaseModel): Promise<void> {
  await addBase(db, base);
  await remember(db, 'base', base.digest);
}

/** The server's own model. Throws `base/none`. */
export async function ownBase(db: Database): Promise<BaseModel> {
  const digest = await recall(db, 'base');
  if (digest) return findBase(db, digest);
  throw new RapportError(
    'base/none',
    'This data folder has no base model yet.',
    'Start the server once, or give a model with --model.',
  );
}

/** The model whose files clients fetch. */
export async function modelOfClients(db: Database, dataFolder: string): Promise<BaseModel> {
  const { stable } = (await currentChannel(db, dataFolder)).signed;
  if (stable === 'base') return ownBase(db);
  return (await findRelease(db, stable)).envelope.signed.base;
}
