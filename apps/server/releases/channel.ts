// Who gets which release: one signed document whose version only rises. Every change is a new version
// with its reason; an old one is signed anew before it expires.
import { randomBytes } from 'node:crypto';
import {
  CHANNEL_LIFE_MS,
  RapportError,
  signDocument,
  type Channel,
  type Signed,
} from '@rapport/core';
import { inTransaction, type Database, type Queries } from '../store/database.ts';
import { recall } from '../store/settings.ts';
import { readKeys } from './keys.ts';
import { findRelease } from './registry.ts';

const RENEW_BEFORE_MS = 3 * 86_400_000;

/** The share of devices a new candidate begins with, in percent. */
const FIRST_PERCENT = 1;

/** The channel in force, signed anew when less than three days of it are left. */
export async function currentChannel(db: Database, dataFolder: string): Promise<Signed<Channel>> {
  const known = await newest(db);
  if (!known) return change(db, dataFolder, 'first', (channel) => channel);
  if (known.signed.expires - Date.now() > RENEW_BEFORE_MS) return known;
  return change(db, dataFolder, 'renewed', (channel) => channel);
}

/** Signs the channel anew, whatever its age: with the key that a rotation puts in force. */
export const renewChannel = (db: Queries, dataFolder: string) =>
  change(db, dataFolder, 'renewed', (channel) => channel);

/** Offers a release to `percent` of devices beside the stable one. Throws `release/unknown`. */
export async function offerCandidate(
  db: Database,
  dataFolder: string,
  name: string,
  percent = FIRST_PERCENT,
): Promise<Signed<Channel>> {
  const { id } = await findRelease(db, name);
  return change(db, dataFolder, `candidate ${id} ${percent} %`, (channel) =>
    withCandidate(channel, id, percent),
  );
}

/** Gives a release to `percent` of devices; at 100 it becomes stable. */
export async function promote(db: Database, dataFolder: string, name: string, percent = 100) {
  if (percent < 100) return offerCandidate(db, dataFolder, name, percent);
  const { id } = await findRelease(db, name);
  return change(db, dataFolder, `stable ${id}`, (channel) => withStable(channel, id));
}

/** A release that a run asks to publish, and what it was compared with. */
export interface Offer {
  release: string;
  to: 'candidate' | 'stable';
  /** The stable release when the run began, or "base". */
  stable: string;
  /** Digest of the base model it was trained on. */
  base: string;
}

/**
 * Publishes the release of a run, where that overrides nobody and what it was compared with is still
 * what devices have; else throws `release/held`, and the channel stays as it is.
 */
export async function offerTrained(
  db: Database,
  dataFolder: string,
  offer: Offer,
): Promise<Signed<Channel>> {
  const { release, to } = offer;
  const reason = to === 'stable' ? `stable ${release}` : `candidate ${release} ${FIRST_PERCENT} %`;
  return change(db, dataFolder, reason, async (channel, tx) => {
    const why = await whyHeld(channel, offer, tx);
    if (why)
      throw new RapportError(
        'release/held',
        why,
        `Look at it, then publish it yourself: rapport release publish ${release}`,
      );
    return to === 'stable'
      ? withStable(channel, release)
      : withCandidate(channel, release, FIRST_PERCENT);
  });
}

async function whyHeld(
  { freeze, candidate, stable }: Channel,
  offer: Offer,
  tx: Queries,
): Promise<string | null> {
  if (freeze) return 'The channel is frozen: somebody halted a release.';
  // One that nobody has raised yet gives way to a newer one.
  if (candidate && candidate.percent > FIRST_PERCENT && candidate.release !== offer.release)
    return `Release ${candidate.release} is being tried on ${candidate.percent} % of devices.`;
  if (stable !== offer.stable)
    return `Devices have ${stable} by now; it was compared with ${offer.stable}.`;
  if (stable === 'base' && (await recall(tx, 'base')) !== offer.base)
    return 'Devices have another base model by now than the one it was trained on.';
  return null;
}

/** Takes the candidate back from everybody who has it, and lets nobody change until the next act. */
export async function halt(db: Database, dataFolder: string): Promise<Signed<Channel>> {
  return change(db, dataFolder, 'halt', halted);
}

/** The same, if the candidate is still `release`. */
export async function haltCandidate(
  db: Database,
  dataFolder: string,
  release: string,
): Promise<Signed<Channel>> {
  return change(db, dataFolder, `halt ${release}`, (channel) =>
    channel.candidate?.release === release ? halted(channel) : channel,
  );
}

/**
 * Back to what was stable before, at last to the bare base: a higher version that names an older
 * release. The release left is blocked, and so is a candidate. Throws `release/no-earlier`.
 */
export async function rollback(db: Database, dataFolder: string): Promise<Signed<Channel>> {
  const { stable, candidate, blocked } = (await currentChannel(db, dataFolder)).signed;
  if (stable === 'base' && !candidate)
    throw new RapportError(
      'release/no-earlier',
      'Everybody has the bare base: there is nothing to go back from.',
      'See rapport release list for what is there to promote.',
    );
  const rows = await db
    .selectFrom('channels')
    .select('envelope')
    .orderBy('version', 'desc')
    .execute();
  const earlier = rows
    .map(({ envelope }) => (JSON.parse(envelope) as Signed<Channel>).signed.stable)
    .find((id) => id !== stable && id !== 'base' && !blocked.includes(id));
  const left = [candidate?.release, stable].filter((id) => id !== undefined && id !== 'base');
  return change(db, dataFolder, `rollback to ${earlier ?? 'base'}`, (channel) => ({
    ...channel,
    stable: earlier ?? 'base',
    candidate: undefined,
    blocked: [...new Set([...channel.blocked, ...(left as string[])])],
    freeze: false,
  }));
}

const halted = ({ candidate, ...channel }: Channel): Channel => ({
  ...channel,
  blocked: candidate ? [...new Set([...channel.blocked, candidate.release])] : channel.blocked,
  freeze: true,
});

const withCandidate = (channel: Channel, id: string, percent: number): Channel => {
  const { candidate } = channel;
  const salt = candidate?.release === id ? candidate.salt : randomBytes(8).toString('hex');
  return unblocked({ ...channel, freeze: false, candidate: { release: id, percent, salt } }, id);
};

const withStable = ({ candidate, ...channel }: Channel, id: string): Channel =>
  unblocked(
    {
      ...channel,
      ...(candidate && candidate.release !== id && { candidate }),
      stable: id,
      freeze: false,
    },
    id,
  );

const unblocked = (channel: Channel, id: string): Channel => ({
  ...channel,
  blocked: channel.blocked.filter((blocked) => blocked !== id),
});

async function newest(db: Queries): Promise<Signed<Channel> | undefined> {
  const row = await db
    .selectFrom('channels')
    .select('envelope')
    .orderBy('version', 'desc')
    .executeTakeFirst();
  return row && (JSON.parse(row.envelope) as Signed<Channel>);
}

const FIRST: Channel = {
  name: 'main',
  version: 0,
  issued: 0,
  expires: 0,
  stable: 'base',
  blocked: [],
  freeze: false,
};

async function change(
  db: Queries,
  dataFolder: string,
  reason: string,
  edit: (channel: Channel, tx: Queries) => Channel | Promise<Channel>,
): Promise<Signed<Channel>> {
  // Read, sign and write under the store's write lock: versions rise by one whoever else is at it.
  return inTransaction(db, async (tx) => {
    const { channel: key } = await readKeys(tx, dataFolder);
    const before = (await newest(tx))?.signed ?? FIRST;
    const now = Date.now();
    const next: Channel = {
      ...(await edit(before, tx)),
      version: before.version + 1,
      issued: now,
      expires: now + CHANNEL_LIFE_MS,
    };
    const envelope = await signDocument(next, [key]);
    await tx
      .insertInto('channels')
      .values({
        version: next.version,
        envelope: JSON.stringify(envelope),
        reason,
        created_at: now,
      })
      .execute();
    return envelope;
  });
}
