// rapport device list · revoke, erase, keys init · rotate · show, status, doctor
import { statfs } from 'node:fs/promises';
import type { Command } from 'commander';
import { RapportError } from '@rapport/core';
import type { Context } from '../../context.ts';
import { overviewOf } from '../../operator/overview.ts';
import { checkKeys, ensureKeys } from '../../releases/keys.ts';
import { ownBase } from '../../releases/model.ts';
import { rotateKeys } from '../../releases/rotate.ts';
import { audit } from '../../store/audit.ts';
import { listDevices, revokeDevice } from '../../store/devices.ts';
import { eraseDevice } from '../../store/erasure.ts';
import { listing, table, when } from '../output.ts';
import { common, inFolder, inFolderOrNew, type CommonFlags } from '../session.ts';

export function careCommands(program: Command): void {
  const device = program.command('device').description('devices that share feedback');
  common(device.command('list').description('devices, newest first')).action((flags: CommonFlags) =>
    inFolder(flags, async ({ db }, output) => {
      const all = await listDevices(db);
      const rows = all.map((d) => [d.id, when(d.enrolledAt), d.events, d.revoked ? 'revoked' : '']);
      output.answer(all, table(['id', 'enrolled', 'events', ''], rows));
    }),
  );
  common(
    device.command('revoke').argument('<id>').description('refuse what a device sends from now on'),
  ).action((id: string, flags: CommonFlags) =>
    inFolder(flags, async ({ db }, output) => {
      await revokeDevice(db, id);
      await audit(db, 'cli', 'device.revoke', { device: id });
      output.answer({ device: id, revoked: true }, `${id} revoked`);
    }),
  );

  common(
    program
      .command('erase')
      .requiredOption('--device <id>', 'whose')
      .description('forget everything a device sent; prints a receipt'),
  ).action((flags: CommonFlags & { device: string }) =>
    inFolder(flags, async ({ db }, output) => {
      const receipt = await eraseDevice(db, flags.device);
      await audit(db, 'cli', 'device.erase', { receipt: receipt.receipt });
      output.answer(receipt, listing({ ...receipt }));
    }),
  );

  const keys = program.command('keys').description('the keys that sign releases');
  common(keys.command('init').description('make them, unless there are some')).action(
    (flags: CommonFlags) =>
      inFolderOrNew(flags, async ({ db, dataFolder }, output) => {
        const { signed } = await ensureKeys(db, dataFolder);
        output.answer(signed, listing({ version: signed.version, ...keyIds(signed.roles) }));
      }),
  );
  common(keys.command('show').description('the public keys')).action((flags: CommonFlags) =>
    inFolder(flags, async ({ db, dataFolder }, output) => {
      const { signed } = await ensureKeys(db, dataFolder);
      output.answer(signed, listing({ version: signed.version, ...keyIds(signed.roles) }));
    }),
  );
  common(keys.command('rotate').description('new keys; clients follow by the old ones')).action(
    (flags: CommonFlags) =>
      inFolder(flags, async ({ db, dataFolder }, output) => {
        const { signed } = await rotateKeys(db, dataFolder);
        await audit(db, 'cli', 'keys.rotate', { root: signed.version });
        output.answer(signed, listing({ version: signed.version, ...keyIds(signed.roles) }));
      }),
  );

  common(program.command('status').description('counts, and who answers')).action(
    (flags: CommonFlags) =>
      inFolder(flags, async (context, output) => {
        const overview = await overviewOf(context);
        output.answer(overview, listing(overview));
        const keys = await examineKeys(context);
        if (!keys.ok) output.note(keys.detail);
      }),
  );
  common(program.command('doctor').description('checks store, keys, model and disk')).action(
    (flags: CommonFlags) =>
      inFolder(flags, async (context, output) => {
        const checks = await examine(context);
        const rows = checks.map(({ name, ok, detail }) => [ok ? 'ok' : 'BAD', name, detail]);
        output.answer({ ok: checks.every(({ ok }) => ok), checks }, table(['', 'check', ''], rows));
        const bad = checks.filter(({ ok }) => !ok);
        if (bad.length > 0)
          throw new RapportError(
            'doctor/unwell',
            `${bad.length} of ${checks.length} checks failed: ${bad.map(({ name }) => name).join(', ')}.`,
            'See the line of each check for what to do.',
          );
      }),
  );
}

const keyIds = (roles: Record<string, { keys: string[] }>) =>
  Object.fromEntries(
    Object.entries(roles).map(
      ([
        role,
        {
          keys: [id = ''],
        },
      ]) => [role, id],
    ),
  );

interface Check {
  name: string;
  ok: boolean;
  detail: string;
}

const MIN_FREE_BYTES = 500e6;

function examine(context: Context): Promise<Check[]> {
  const { db, blobs, dataFolder } = context;
  return Promise.all([
    check('store', async () => {
      const rows = await db.selectFrom('events').select('id').limit(1).execute();
      return rows.length > 0 ? 'readable, holds feedback' : 'readable, empty';
    }),
    examineKeys(context),
    check('model', async () => {
      const base = await ownBase(db);
      for (const { digest } of base.files) await blobs.need(digest);
      return base.name;
    }),
    check('disk', async () => {
      const { bavail, bsize } = await statfs(dataFolder);
      const free = bavail * bsize;
      if (free < MIN_FREE_BYTES) throw new Error(`only ${(free / 1e6).toFixed(0)} MB are free`);
      return `${(free / 1e9).toFixed(1)} GB free`;
    }),
  ]);
}

const examineKeys = ({ db, dataFolder }: Context) =>
  check(
    'keys',
    async () => `release key ${(await checkKeys(db, dataFolder)).release.id.slice(0, 12)}`,
  );

async function check(name: string, look: () => Promise<string>): Promise<Check> {
  try {
    return { name, ok: true, detail: await look() };
  } catch (error) {
    const { message, remedy = '' } = error as { message: string; remedy?: string };
    return { name, ok: false, detail: `${message} ${remedy}`.trim() };
  }
}
