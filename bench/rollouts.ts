// Replies as training samples them, by the trainer's own speaker: how many tokens a second, so many side by side.
import type { Checkpoint, Runtime } from '@rapport/core';
import { Speaker } from '@rapport/rlhf';

/** No token ends a reply. */
const NEVER = -1;
/** Where few are spoken at once, a few say how fast. */
const FEWEST = 2;

/** Gives a function that says the tokens per second of as many replies to a prompt as speak side by side. */
export function rolloutSpeed(
  checkpoint: Checkpoint,
  runtime: Runtime,
  maxTokens: number,
): (prompt: readonly number[], sideBySide: number) => Promise<number> {
  const speakers = new Map<number, Promise<Speaker>>();
  return async (prompt, slots) => {
    const options = {
      endOfTurn: NEVER,
      fromLayer: Math.floor(checkpoint.config.layers / 2),
      slots,
    };
    const speaker = speakers.get(slots) ?? Speaker.create(checkpoint, runtime, options);
    speakers.set(slots, speaker);
    const replies = Math.max(FEWEST, slots);
    const sampling = { temperature: 1, maxTokens, replies, seed: 1, adapter: null };
    // The first step comes after the prompt was read.
    let [fromMs, before, spoken] = [NaN, 0, 0];
    for await (const { tokens } of (await speaker).sample([prompt], sampling)) {
      spoken = tokens;
      if (!Number.isNaN(fromMs)) continue;
      [fromMs, before] = [performance.now(), tokens];
    }
    return ((spoken - before) * 1000) / (performance.now() - fromMs);
  };
}
