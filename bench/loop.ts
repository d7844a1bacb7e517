// The whole loop once, as an operator runs it, for one simulated person: rankings over HTTP, `rapport train`, a
// published release, and that person's judgement of it on prompts kept apart.
// `npx tsx bench/loop.ts '{"annotator":"lists","seed":0,"samples":"FILE"}'` prints one JSON document. `samples` keeps the
// base's replies for other people with the same seed: they do not depend on who ranks them.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { buildTokenizer, Random } from '@rapport/core';
import { noisyRanks, questionOf, sampleBase, Speaker, winRate } from '@rapport/rlhf';
import type { Annotator, BaseSamples, Instruction, SampledReply } from '@rapport/rlhf';
import { nodeRuntime } from '../apps/server/node-runtime.ts';
import { readAdapter } from '../apps/server/trainer/peft.ts';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { runCommand, startRapport } from '../tests/support/rapport.ts';

const {
  annotator = 'lists',
  seed = 0,
  noise = 0,
  rankings = 60,
  samples,
} = JSON.parse(process.argv[2] ?? '{}') as {
  annotator?: string;
  seed?: number;
  noise?: number;
  rankings?: number;
  samples?: string;
};
const REPLIES = 4;
const sampling = { temperature: 0.9, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };
const maxTokens = 256;

const prompts = readFileSync(new URL('../tests/data/prompts.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Instruction);
const { default: score } = (await import(`../tests/annotators/${annotator}.mjs`)) as {
  default: Annotator;
};
const checkpoint = await realCheckpoint();
const tokenizer = await buildTokenizer(checkpoint.tokenizer);
const { endOfTurn } = tokenizer;
const runtime = await nodeRuntime(checkpoint);
const textOf = ({ tokens }: SampledReply) => tokenizer.decode(tokens, { skipSpecial: true }).trim();
const say = (text: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);

/** The base's replies: to rank, and to compare with. */
async function baseReplies(): Promise<BaseSamples> {
  if (samples && existsSync(samples)) {
    return JSON.parse(readFileSync(samples, 'utf8')) as BaseSamples;
  }
  const run = sampleBase(
    {
      prompts,
      demonstrations: [],
      annotator: score,
      method: 'ppo',
      votes: rankings * REPLIES,
      replies: REPLIES,
      noise,
      seed,
      maxTokens,
      judgedPrompts: 47,
      judgedSamples: 4,
    },
    { checkpoint, tokenizer, runtime, endOfTurn, now: Date.now },
  );
  let next = await run.next();
  while (!next.done) next = await run.next();
  if (samples) writeFileSync(samples, JSON.stringify(next.value));
  return next.value;
}

/** The person's ranking of each prompt's replies, as the page would send it. */
function eventsOf(voted: BaseSamples['voted']) {
  const mistakes = new Random(seed * 31 + 6);
  const ids = new Random(seed * 31 + 7);
  return voted.map((replies) => {
    const prompt = tokenizer.decode(replies[0]!.prompt);
    const question = prompts.find((line) =>
      prompt.includes(`user\n${questionOf(line)}<|im_end|>`),
    )!;
    const scores = replies.map((reply) => score(questionOf(question), textOf(reply)));
    return {
      id: idFrom(ids),
      type: 'ranking',
      v: 1,
      at: Date.now(),
      release: 'base',
      consent: true,
      body: {
        prompt: [{ role: 'user', content: questionOf(question) }],
        replies: replies.map((reply) => ({
          text: textOf(reply),
          provenance: {
            release: 'base',
            adapter: null,
            sampling: { ...sampling, maxTokens },
            seed,
            tokens: reply.tokens,
            logprobs: reply.tokens.map(() => 0),
          },
        })),
        ranks: noisyRanks(scores, noise, mistakes),
      },
    };
  });
}

/** A random UUID that the seed decides: judgements are learned from in the order of their ids. */
function idFrom(random: Random): string {
  const hex = Array.from({ length: 32 }, () => random.integer(16).toString(16)).join('');
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, '$1-$2-4$3-8$4-$5');
}

say('the base replies');
const { voted, base } = await baseReplies();
const rapport = await startRapport();
say(`the person ranks; data in ${rapport.dataFolder}`);
const post = async (path: string, body: unknown, token?: string) => {
  const answer = await fetch(rapport.url + path, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
};
const { token } = (await post('/v1/devices', {})) as { token: string };
const events = eventsOf(voted);
for (let at = 0; at < events.length; at += 20) {
  const { results } = (await post(
    '/v1/events',
    { proto: 1, events: events.slice(at, at + 20) },
    token,
  )) as { results: { status: string; error?: unknown }[] };
  const refused = results.find(({ status }) => status !== 'accepted');
  if (refused) throw new Error(JSON.stringify(refused));
}

say('rapport train');
const config = join(rapport.dataFolder, 'loop.json');
writeFileSync(config, JSON.stringify({ seed }));
const started = performance.now();
const trained = JSON.parse(
  await runCommand(rapport, 'train', '--config', config, '--json'),
) as Record<string, unknown> & { run: string };
const trainSeconds = (performance.now() - started) / 1000;
say(`trained in ${trainSeconds.toFixed(0)} s: ${JSON.stringify(trained['gate'])}`);
const stages = readFileSync(join(rapport.dataFolder, 'runs', trained.run, 'progress.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Record<string, unknown>);
const channel = JSON.parse(await runCommand(rapport, 'release', 'list', '--json')) as unknown;

say('the person judges');
const adapter = await readAdapter(
  join(rapport.dataFolder, 'runs', trained.run, 'adapter-1', 'adapter_model.safetensors'),
  { rank: 8, alpha: 16 },
);
const speaker = await Speaker.create(checkpoint, runtime, {
  endOfTurn,
  fromLayer: Math.floor(checkpoint.config.layers / 2),
});
const judging = speaker.sample(
  base.map(([first]) => first!.prompt),
  { replies: base[0]!.length, seed: 2002, temperature: 0.9, maxTokens, adapter },
);
let judged = await judging.next();
while (!judged.done) judged = await judging.next();
const scoresOf = (groups: readonly (readonly SampledReply[])[]) =>
  groups.map((replies) => replies.map((reply) => score('', textOf(reply))));
const ours = judged.value;
await rapport.stop();
console.log(
  JSON.stringify({
    annotator,
    seed,
    noise,
    rankings,
    ...winRate(scoresOf(ours), scoresOf(base), new Random(99)),
    trainSeconds,
    cores: cpus().length,
    ...trained,
    channel,
    stages,
    samples: ours.slice(0, 6).map(([reply], p) => [textOf(base[p]![0]!), textOf(reply!)]),
  }),
);
process.exit(0);
