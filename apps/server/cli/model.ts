// Which model a command means: `--model`, else the one of the data folder, else the default one.
import { RapportError, type BaseModel } from '@rapport/core';
import type { Context } from '../context.ts';
import { createMeter } from '../model-source/meter.mjs';
import { obtainModel, type ModelFiles } from '../model-source/obtain.mjs';
import type { ModelPlace } from '../models.ts';
import { registerBase } from '../releases/base.ts';
import { ownBase } from '../releases/model.ts';
import { findRelease, listReleases } from '../releases/registry.ts';
import { readAdapter } from '../trainer/peft.ts';

/** The bare model of a spec on this disk, fetched if need be. Throws `model/*`. */
export async function findModel(context: Context, spec: string | undefined): Promise<ModelFiles> {
  if (spec && (await isRelease(context, spec))) return bareRelease(context, spec);
  if (!spec) {
    const base = await ownBase(context.db).catch(() => null);
    if (base) return filesOf(context, base);
  }
  const meter = createMeter();
  const model = await obtainModel({ report: meter, ...(spec && { spec }) });
  meter.end();
  return model;
}

/** The base of `spec`, or the default one for a folder that has none; undefined is the folder's own. */
export async function baseFor(
  context: Context,
  spec: string | undefined,
): Promise<BaseModel | undefined> {
  if (!spec && (await ownBase(context.db).catch(() => null))) return undefined;
  return registerBase(context.blobs, await findModel(context, spec));
}

/** Whether `spec` names a release of this data folder. */
export async function isRelease(context: Context, spec: string | undefined): Promise<boolean> {
  if (!spec || !/^[0-9a-f]{4,64}$/.test(spec)) return false;
  return (await listReleases(context.db)).some(({ id }) => id.startsWith(spec));
}

/** A release on this disk: its base, by digest and files, and its adapter. Throws `release/unknown`, `blob/missing`. */
export async function openRelease(context: Context, name: string) {
  const { id, envelope } = await findRelease(context.db, name);
  const { base, adapter } = envelope.signed;
  const place = await basePlace(context, base);
  if (!adapter) return { id, base: base.digest, place, adapter: null };
  const { path } = await context.blobs.need(adapter.digest);
  return { id, base: base.digest, place, adapter: await readAdapter(path, adapter) };
}

/** The base of a release that is nothing more. Throws `model/not-bare`. */
async function bareRelease(context: Context, name: string): Promise<ModelFiles> {
  const { base, adapter } = (await findRelease(context.db, name)).envelope.signed;
  if (!adapter) return filesOf(context, base);
  throw new RapportError(
    'model/not-bare',
    `${name} is a release with an adapter, and here a bare model is needed.`,
    'Give a path, hf:owner/name, pypi:name==version, or a release without an adapter.',
  );
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
