// Devices say when a release fails to load. Enough of them take a candidate back without a person.
import type { Context } from '../context.ts';
import { audit } from '../store/audit.ts';
import { receptions } from '../store/events.ts';
import { currentChannel, haltCandidate } from './channel.ts';

/** Devices on which a candidate has failed to load before it is halted. */
const ENOUGH = 3;

/** Halts the candidate once enough devices have reported that it fails to load. */
export async function heedReports({
  db,
  dataFolder,
}: Pick<Context, 'db' | 'dataFolder'>): Promise<void> {
  const { candidate } = (await currentChannel(db, dataFolder)).signed;
  if (!candidate) return;
  const { release } = candidate;
  const { loadFailures: devices = 0 } = (await receptions(db)).get(release) ?? {};
  if (devices < ENOUGH) return;
  await haltCandidate(db, dataFolder, release);
  await audit(db, 'devices', 'channel.halt', { release, devices });
}
