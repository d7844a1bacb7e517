// What a finished adapter is measured by, beside the pipeline's own numbers: the arena against the release in
// use, golden pairs, canaries. The model is opened once for all three.
import { readFile } from 'node:fs/promises';
import { goldenErrors, ownArena, placeOf, Policy, Speaker } from '@rapport/rlhf';
import type { ArenaSpec } from '@rapport/rlhf';
import type { Canaries, OpenModel } from './canaries.ts';

/** Measures `spec.adapter`; yields the progress of the arena. Returns numbers by name, and a golden test. */
export async function* measure(
  spec: ArenaSpec,
  { checkpoint, runtime, tokenizer }: OpenModel,
  canaries: Canaries,
  signal: AbortSignal,
) {
  const { endOfTurn } = tokenizer;
  const place = placeOf(checkpoint.config, [spec.adapter, spec.current]);
  const policy = new Policy(checkpoint, runtime, { place });
  const { fromLayer } = place;
  const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn, fromLayer });
  const asked = (content: string) =>
    tokenizer.encodeChat([{ role: 'user', content }], { addGenerationPrompt: true });
  const said = (text: string) => [...tokenizer.encode(text), endOfTurn];
  try {
    const { golden, ...arena } = yield* ownArena(spec, { policy, speaker }, signal);
    yield { stage: 'canaries' as const, step: 0, of: 1 };
    const pairs = (await lines('golden-pairs')) as {
      prompt: string;
      chosen: string;
      rejected: string;
    }[];
    const errors = await goldenErrors(
      policy,
      pairs.map(({ prompt, chosen, rejected }) => ({
        prompt: asked(prompt),
        chosen: said(chosen),
        rejected: said(rejected),
      })),
      spec.adapter,
      signal,
    );
    const answers = await canaries.ask(spec.adapter, signal);
    yield { stage: 'canaries' as const, step: 1, of: 1 };
    return { golden, measures: { ...arena, ...errors, ...answers } };
  } finally {
    await speaker.dispose();
    await policy.dispose();
  }
}

async function lines(name: string): Promise<unknown[]> {
  const text = await readFile(new URL(`./${name}.jsonl`, import.meta.url), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
}
