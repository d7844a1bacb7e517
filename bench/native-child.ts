// Measures the engines of Node and tells their rows: `native-child.ts THREADS quick|full`.
import { buildTokenizer } from '@rapport/core';
import { kernelRuntime } from '../apps/server/kernel-runtime.ts';
import { nodeRuntime } from '../apps/server/node-runtime.ts';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { modelPath } from '../tests/support/model.ts';
import { tell } from './child.ts';
import { LLAMA_CPP, NODE_EXACT, NODE_OWN } from './engines.ts';
import { LlamaCppEngine } from './llama-cpp-engine.ts';
import { Match, type Contestant } from './match.ts';
import { OwnEngine } from './own-engine.ts';
import { answer, type Engine, type Piece } from './page/engine.ts';
import { installPeers } from './peers.ts';
import { compare } from './quality.ts';
import { rest } from './rest.ts';
import { rolloutSpeed } from './rollouts.ts';
import { Texts } from './text.ts';
import { adapters, branches, chat, exactness, FULL, QUICK, rollouts } from './workloads.ts';

const [threads = '2', size = 'quick'] = process.argv.slice(2);
process.env['RAPPORT_THREADS'] = threads;
const sizes = size === 'full' ? FULL : QUICK;

const checkpoint = await realCheckpoint();
const texts = new Texts(await buildTokenizer(checkpoint.tokenizer));
const OURS = [NODE_OWN, NODE_EXACT] as const;
const text = texts.prose(sizes.text);

const runtimes = {
  [NODE_OWN]: await kernelRuntime(checkpoint),
  [NODE_EXACT]: await nodeRuntime(checkpoint),
};
const own = (label: keyof typeof runtimes) =>
  new OwnEngine(async () => ({
    checkpoint,
    tokenizer: checkpoint.tokenizer,
    runtime: runtimes[label],
  }));

const exactEngine = own(NODE_EXACT);
let exact: Promise<Float32Array> | undefined;
const exactScores = async (text: Piece): Promise<Float32Array> => {
  exactEngine.fresh();
  return exactEngine.scores(text);
};

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const contestant = (label: string, engine: Engine, missing?: string): Contestant => ({
  label,
  missing,
  async ask(question) {
    const told = await answer(engine, question);
    await rest(cpuMs);
    return told;
  },
  async quality(text) {
    exact ??= exactScores(text);
    const reference = await exact;
    await engine.fresh();
    return compare(reference, await engine.scores(text), text.ids);
  },
});

const noPeers = await installPeers().then(
  () => undefined,
  (error: Error) => error.message,
);
const llama = new LlamaCppEngine(await modelPath(), Number(threads));
const match = new Match('inference', [
  contestant(NODE_OWN, own(NODE_OWN)),
  contestant(NODE_EXACT, exactEngine),
  contestant(LLAMA_CPP, llama, noPeers),
]);
for (const one of match.playing) await match.ask(one, 'loading', { kind: 'open' });
await chat(match, texts, sizes);
await branches(match, OURS, texts, sizes);
await rollouts(
  match,
  new Map(
    OURS.map((label) => [label, rolloutSpeed(checkpoint, runtimes[label], sizes.replyTokens)]),
  ),
  texts,
  sizes,
);
await adapters(match, OURS, texts, sizes);
await exactness(match, text);
tell(match.rows);
process.exit(0);
