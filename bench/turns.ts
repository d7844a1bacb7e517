// How long a reply's first token takes when the conversation, or a branch of it, has been read before:
// `RAPPORT_THREADS=1 npx tsx bench/turns.ts [tokens …]`. Processor time, in turn in one process, medians.
import { buildTokenizer, ChatEngine, Random, type ChatMessage } from '@rapport/core';
import { kernelRuntime } from '../apps/server/kernel-runtime.ts';
import { realCheckpoint } from '../tests/support/checkpoint.ts';

const ROUNDS = 3;
const TURN_WORDS = 30;
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
const WORDS =
  'time year people way day man thing woman life child world school state family student group';

const lengths = process.argv.slice(2).map(Number);
const checkpoint = await realCheckpoint();
const tokenizer = await buildTokenizer(checkpoint.tokenizer);
const runtime = await kernelRuntime(checkpoint);
const engine = await ChatEngine.create({ checkpoint, tokenizer, runtime });
const random = new Random(1);

const words = (count: number): string =>
  Array.from({ length: count }, () => WORDS.split(' ')[random.integer(16)]).join(' ');
const user = (): ChatMessage => ({ role: 'user', content: words(TURN_WORDS) });
const tokensOf = (messages: ChatMessage[]) =>
  tokenizer.encodeChat(messages, { addGenerationPrompt: true }).length;

/** A conversation of about `count` tokens that ends with a reply. */
function conversation(count: number): ChatMessage[] {
  const messages: ChatMessage[] = [];
  do messages.push(user(), { role: 'assistant', content: words(TURN_WORDS) });
  while (tokensOf(messages) + 2 * TURN_WORDS < count);
  return messages;
}

/** Milliseconds of processor time until the first token of a reply. */
async function firstTokenMs(messages: ChatMessage[]): Promise<number> {
  const from = process.cpuUsage();
  const request = { messages, samplings: [{ ...GREEDY, maxTokens: 1 }] };
  const run = engine.speak(request, new AbortController().signal);
  while (!(await run.next()).done);
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[numbers.length >> 1]!;

for (const length of lengths.length > 0 ? lengths : [128, 512, 1024, 2048]) {
  const seen: Record<string, number[]> = {};
  const time = async (what: string, messages: ChatMessage[]) =>
    (seen[what] ??= []).push(await firstTokenMs(messages));
  for (let round = 0; round < ROUNDS; round++) {
    const old = conversation(length);
    const [turn, edit] = [user(), user()];
    engine.setAdapter(null);
    await time('anew', [...old, turn]);
    engine.setAdapter(null);
    await firstTokenMs(old.slice(0, -1));
    await firstTokenMs([...old, user()]);
    await time('next turn', [...old, turn]);
    await time('first message edited', [edit]);
    await time('back to the branch', [...old, turn]);
    await time('another chat', [{ role: 'system', content: 'Be brief.' }, user()]);
    await time('back to the chat', [...old, turn]);
  }
  const medians = Object.entries(seen).map(([what, all]) => [what, Math.round(median(all))]);
  console.log(JSON.stringify({ length, ...Object.fromEntries(medians) }));
}
process.exit(0);
