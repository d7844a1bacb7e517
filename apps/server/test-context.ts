// An opened data folder for tests: a real store, a tiny base model, and a child that trains nothing.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { BaseModel } from '@rapport/core';
import { createApp } from './app.ts';
import { openContext, type Context } from './context.ts';
import { registerBase } from './releases/base.ts';
import { useBase } from './releases/model.ts';
import { aRanking, temporaryFolder } from './store/test-store.ts';
import { enrol } from './store/devices.ts';
import { takeEvents } from './store/events.ts';
import { checkConfig } from './trainer/config.ts';
import { LocalTrainer } from './trainer/local.ts';

const CHILD = fileURLToPath(new URL('./trainer/test-child.ts', import.meta.url));
/** Names in a config that tell the child what to pretend. */
const PLAN = ['steps', 'dieAt', 'throwAt', 'passed', 'strange', 'deaf'];
export const MODEL_BYTES = Buffer.alloc((1 << 20) + 100, 'model');

export async function temporaryContext(folder?: string): Promise<Context> {
  const dataFolder = folder ?? (await temporaryFolder());
  const context = await openContext(dataFolder, new LocalTrainer(CHILD, checkPlan));
  onTestFinished(() => context.close().catch(() => {}));
  const path = join(dataFolder, 'tiny.gguf');
  await writeFile(path, MODEL_BYTES);
  await useBase(
    context.db,
    await registerBase(context.blobs, { name: 'tiny', format: 'gguf', path }),
  );
  return context;
}

/** Another tiny model, which nothing uses yet. */
export async function anotherBase({ dataFolder, blobs }: Context): Promise<BaseModel> {
  const path = join(dataFolder, 'other.gguf');
  await writeFile(path, 'another model');
  return registerBase(blobs, { name: 'other', format: 'gguf', path });
}

function checkPlan(config: Record<string, unknown>): void {
  const rest = Object.entries(config).filter(([name]) => !PLAN.includes(name));
  checkConfig(Object.fromEntries(rest));
}

/** A context in which a device has ranked something. */
export async function contextWithVotes(): Promise<Context & { device: string }> {
  const context = await temporaryContext();
  const { device } = await enrol(context.db);
  await takeEvents(context.db, device, [aRanking(), aRanking()]);
  return { ...context, device };
}

/** The app over a context, and its log. */
export function appOf(context: Context) {
  const log: Record<string, unknown>[] = [];
  return { app: createApp(context, { log: (line) => log.push(line) }), log };
}
