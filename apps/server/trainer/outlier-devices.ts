// The outlier test per device: whose rankings a reward model learned without them contradicts. It reads the
// judgements that screening left, and says whom to leave out.
import { featuresOf, outliers, Policy, type SignedRanking } from '@rapport/rlhf';
import type { DatasetRow } from '../store/datasets.ts';
import type { OpenModel } from './canaries.ts';
import { rankingsIn } from './room.ts';

/** Devices that are looked at: those that ranked most, … */
const MOST_DEVICES = 20;
/** … by so many of their newest rankings in all: the model reads each reply. */
const MOST_RANKINGS = 240;

/** Ids of the devices that agree with the rest less than chance by `deviations` standard errors; 0 asks nothing. */
export async function outlierDevices(
  rows: readonly DatasetRow[],
  deviations: number,
  { checkpoint, runtime, tokenizer }: OpenModel,
  signal: AbortSignal,
): Promise<string[]> {
  const devices = [...new Set(rows.map(({ device }) => device))]
    .map((device) => ({
      device,
      rankings: rankingsIn(
        rows.filter((row) => row.device === device),
        tokenizer,
      ),
    }))
    .filter(({ rankings }) => rankings.length > 0)
    .sort((a, b) => b.rankings.length - a.rankings.length)
    .slice(0, MOST_DEVICES);
  const telling = devices.some(({ rankings }) => rankings.length > deviations ** 2);
  if (deviations === 0 || devices.length < 3 || !telling) return [];
  const policy = new Policy(checkpoint, runtime);
  try {
    const signed: SignedRanking[] = [];
    for (const { device, rankings } of devices)
      for (const { prompt, replies, ranks } of rankings.slice(
        -Math.floor(MOST_RANKINGS / devices.length),
      )) {
        const read = replies.map((reply) => ({ prompt, reply }));
        const trunks = await policy.withTrunk(read, signal);
        const features = await policy.statesAs(trunks, featuresOf, signal);
        signed.push({ annotator: device, ranks, replies: features });
      }
    return outliers(signed, deviations);
  } finally {
    await policy.dispose();
  }
}
