// Which model a command means: `--model`, else the one of the data folder, else the default one.
import type { BaseModel } from '@rapport/core';
import type { Context } from '../context.ts';
import { createMeter } from '../model-source/meter.mjs';
import { obtainModel, type ModelFiles } from '../model-source/obtain.mjs';
import type { ModelPlace } from '../models.ts';
import { registerBase } from '../releases/base.ts';
import { ownBase, useBase } from '../releases/model.ts';
import { findRelease, listReleases } from '../releases/registry.ts';

/** The model of a spec on this disk, fetched if need be. Throws `model/*`. */
export async function findModel(context: Context, spec: string | undefined): Promise<ModelFiles> {
  if (!spec) {
    const base = await ownBase(context.db).catch(() => null);
    if (base) return filesOf(context, base);
  }
  const meter = createMeter();
  const model = await obtainModel({ report: meter, ...(spec && { spec }) });
  meter.end();
  return model;
}

/** Gives the data folder a base model unless it has one, or makes `spec` its own. */
export async function ensureBase(context: Context, spec: string | undefined): Promise<void> {
  if (!spec && (await ownBase(context.db).catch(() => null))) return;
  await useBase(context.db, await registerBase(context.blobs, await findModel(context, spec)));
}

/** Whether `spec` names a release of this data folder. */
export async function isRelease(context: Context, spec: string | undefined): Promise<boolean> {
  if (!spec || !/^[0-9a-f]{4,64}$/.test(spec)) return false;
  return (await listReleases(context.db)).some(({ id }) => id.startsWith(spec));
}

/** A release's base and adapter on this disk. */
export async function releaseFiles(context: Context, name: string) {
  const { envelope } = await findRelease(context.db, name);
  const { base, adapter } = envelope.signed;
  return { place: await basePlace(context, base), adapter };
}

/** The files of a base model by their blobs. */
async function basePlace({ blobs }: Context, base: BaseModel): Promise<ModelPlace> {
  const files = [];
  for (const { name, digest } of base.files)
    files.push({ name, path: (await blobs.need(digest)).path });
  return { format: base.format, files };
}

async function filesOf(context: Context, base: BaseModel): Promise<ModelFiles> {
  const { format, files } = await basePlace(context, base);
  const { name, license, digest } = base;
  const path = files[0]!.path;
  const folder = path.slice(0, path.lastIndexOf('/'));
  return {
    name,
    ...(license && { license }),
    format,
    path: format === 'gguf' ? path : folder,
    ...(format === 'gguf' && { digest }),
  };
}
