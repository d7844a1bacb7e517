// Which judgements a run may learn from: limits on what one device, a new device or a planted text can
// do. It knows rows and enrolments; it says what it set aside and why, and deletes nothing.
import * as v from 'valibot';
import type { Judgement } from '@rapport/core';
import type { DatasetRow } from '../store/datasets.ts';
import { limitsOf } from './limits.ts';

/** Limits, as `"safety"` of a run's config sets them. */
const SafetyLimits = v.strictObject({
  /** One device counts for this share of the judgements at most, … */
  deviceShare: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(1)), 0.01),
  /** … but for so many judgements in any case: a home server has one device or two. */
  deviceFloor: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0)), 500),
  /** A device is heard so many hours after it enrolled, … */
  quarantineHours: v.optional(v.pipe(v.number(), v.minValue(0)), 24),
  /** … once the judgements come from more devices than this. */
  quarantineAbove: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0)), 20),
  /** So many devices must have judged replies to one prompt; 1 asks nothing. */
  devicesPerPrompt: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1)), 1),
  /** A reply of at least so many characters may not stand in its own prompt. */
  quotedCharacters: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1)), 20),
  /**
   * A device is set aside when its rankings agree with a reward model learned without it less than chance
   * by so many standard errors; 0 asks nothing. The training process looks, since it takes the model.
   */
  outlierDeviations: v.optional(v.pipe(v.number(), v.minValue(0)), 3),
});
export type SafetyLimits = v.InferOutput<typeof SafetyLimits>;

/** How many judgements were set aside, for each reason. */
export interface SetAside {
  quotedReply: number;
  newDevice: number;
  fewDevices: number;
  deviceShare: number;
}

/** The limits of a run's config over the defaults. Throws `train/bad-config`. */
export const safetyOf = (config: unknown): SafetyLimits => limitsOf(SafetyLimits, 'safety', config);

/**
 * The rows that count. `enrolledAt` gives when a device enrolled, in milliseconds; it is not asked for
 * imported rows, which an operator answers for.
 */
export function screen(
  rows: readonly DatasetRow[],
  enrolledAt: ReadonlyMap<string, number>,
  now: number,
  limits: SafetyLimits,
): { rows: DatasetRow[]; setAside: SetAside } {
  const heard = devicesOf(rows).size > limits.quarantineAbove;
  const youngest = now - limits.quarantineHours * 3_600_000;
  const setAside: SetAside = { quotedReply: 0, newDevice: 0, fewDevices: 0, deviceShare: 0 };
  const keep = (reason: keyof SetAside, fits: boolean) => {
    if (!fits) setAside[reason]++;
    return fits;
  };
  const honest = rows
    .filter((row) => keep('quotedReply', !quotesItself(row, limits.quotedCharacters)))
    .filter(({ device }) => keep('newDevice', !heard || (enrolledAt.get(device) ?? 0) <= youngest));
  const devices = devicesByPrompt(honest);
  const shared = honest.filter((row) =>
    keep('fewDevices', devices.get(promptOf(row))!.size >= limits.devicesPerPrompt),
  );
  const most = Math.max(limits.deviceFloor, Math.floor(limits.deviceShare * shared.length));
  const left = new Map<string, number>();
  for (const { device } of shared) left.set(device, (left.get(device) ?? 0) + 1);
  // Ids rise with time, and rows are in their order: what goes is a device's oldest.
  const counted = shared.filter(({ device }) => {
    const more = left.get(device)!;
    left.set(device, more - 1);
    return keep('deviceShare', more <= most);
  });
  return { rows: counted, setAside };
}

const devicesOf = (rows: readonly DatasetRow[]) => new Set(rows.map(({ device }) => device));

const promptOf = ({ body }: Judgement): string => plain(body.prompt.at(-1)?.content ?? '');

function devicesByPrompt(rows: readonly DatasetRow[]): Map<string, Set<string>> {
  const devices = new Map<string, Set<string>>();
  for (const row of rows) {
    const prompt = promptOf(row);
    devices.set(prompt, (devices.get(prompt) ?? new Set()).add(row.device));
  }
  return devices;
}

/** Whether a judged reply was planted in the prompt it answers. */
function quotesItself({ type, body }: Judgement, characters: number): boolean {
  const prompt = plain(body.prompt.map(({ content }) => content).join('\n'));
  const replies = type === 'ranking' ? body.replies : [body.reply];
  const texts = [...replies.map(({ text }) => text), ...(type === 'edit' ? [body.text] : [])];
  return texts.map(plain).some((text) => text.length >= characters && prompt.includes(text));
}

/** Case and spaces hide nothing. */
const plain = (text: string): string =>
  text.normalize('NFKC').toLowerCase().replace(/\s+/g, ' ').trim();
