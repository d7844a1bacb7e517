// rapport chat, generate, score: the engine in a terminal.
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { randomInt } from 'node:crypto';
import { Option, type Command } from 'commander';
import * as v from 'valibot';
import { RapportError, type ChatMessage } from '@rapport/core';
import type { Context } from '../../context.ts';
import { placeOf } from '../../models.ts';
import {
  BACKENDS,
  GREEDY,
  openAdapter,
  Voice,
  type Backend,
  type Generated,
} from '../../speaking.ts';
import { readReward } from '../../trainer/reward-file.ts';
import { findModel, isRelease, openRelease } from '../model.ts';
import type { Output } from '../output.ts';
import { common, inFolderOrNew, whole, withModel, type CommonFlags } from '../session.ts';

/** How people are answered unless they say otherwise. */
const CHAT = { temperature: 0.7, topK: 50, topP: 0.9, minP: 0, repetitionPenalty: 1.1 };
const MAX_TOKENS = 512;

interface SpeakFlags extends CommonFlags {
  release?: string;
  messages: string;
  greedy?: boolean;
  maxTokens: number;
  seed?: number;
  stop?: string[];
  adapter?: string;
  backend?: Backend;
  reward?: string;
}

export function chatCommands(program: Command): void {
  withModel(
    common(
      program
        .command('chat')
        .description('talk in the terminal')
        .option('--release <id>', 'who answers'),
    ),
  ).action((flags: SpeakFlags) =>
    inFolderOrNew(flags, async (context, output) => {
      const opened = await open(context, flags);
      await talk(opened, output);
    }),
  );

  withModel(
    common(
      program
        .command('generate')
        .description('one reply, or one per input')
        .requiredOption(
          '--messages <file>',
          'chat messages as a JSON array, or lines of {id, messages}',
        )
        .option('--greedy', 'always the likeliest token')
        .option('--max-tokens <n>', 'at most so many', whole, MAX_TOKENS)
        .option('--seed <s>', 'the same seed gives the same reply', whole)
        .option('--stop <text...>', 'texts to end before')
        .option('--adapter <dir>', 'a folder in PEFT layout')
        .addOption(
          new Option('--backend <name>', 'what computes').choices(BACKENDS).default('fp32'),
        ),
    ),
  ).action((flags: SpeakFlags) =>
    inFolderOrNew(flags, async (context, output) => {
      const inputs = await readMessages(flags.messages);
      const opened = await open(context, flags);
      const replies = [];
      for (const { id, messages } of inputs.items)
        replies.push({
          ...(id !== undefined && { id }),
          ...(await reply(opened, messages, flags)),
        });
      const value = inputs.many ? replies : replies[0];
      output.answer(value, replies.map(({ text }) => text).join('\n\n'));
    }),
  );

  withModel(
    common(
      program
        .command('score')
        .description('log-probs of the given last assistant message')
        .requiredOption('--messages <file>', 'chat messages ending with the assistant')
        .option('--reward <dir>', 'a reward model'),
    ),
  ).action((flags: SpeakFlags) =>
    inFolderOrNew(flags, async (context, output) => {
      const inputs = await readMessages(flags.messages);
      for (const { messages } of inputs.items) needAssistantLast(messages);
      const reward = flags.reward ? await readReward(flags.reward) : undefined;
      const voice = await open(context, flags);
      const scored = await voice.score(
        inputs.items.map(({ messages }) => messages),
        reward,
      );
      const scores = scored.map((score, i) => {
        const { id } = inputs.items[i]!;
        return { ...(id !== undefined && { id }), ...score };
      });
      const sum = ({ logprobs }: { logprobs: number[] }) => logprobs.reduce((a, b) => a + b, 0);
      const text = scores.map(
        (score) => `${sum(score).toFixed(4)} nats, ${score.tokens.length} tokens`,
      );
      output.answer(inputs.many ? scores : scores[0], text.join('\n'));
    }),
  );
}

async function open(context: Context, flags: SpeakFlags): Promise<Voice> {
  const name = flags.release ?? flags.model;
  const release = flags.release !== undefined || (await isRelease(context, name));
  const given = flags.adapter ? await openAdapter(flags.adapter) : null;
  const { backend } = flags;
  if (!release)
    return Voice.open(await placeOf(await findModel(context, flags.model)), given, backend);
  const { place, adapter } = await openRelease(context, name!);
  return Voice.open(place, given ?? adapter, backend);
}

async function reply(
  voice: Voice,
  messages: ChatMessage[],
  { greedy, maxTokens, stop, seed = randomInt(2 ** 31) }: SpeakFlags,
): Promise<Generated> {
  const stream = voice.generate(messages, { ...(greedy ? GREEDY : CHAT), maxTokens, seed, stop });
  for (;;) {
    const step = await stream.next();
    if (step.done) return step.value;
  }
}

/**
 * Reads lines and streams replies until the input ends; Ctrl-C stops a reply, twice leaves. With `--json` all replies are
 * one document at the end.
 */
async function talk(voice: Voice, output: Output): Promise<void> {
  const terminal = process.stdin.isTTY;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal });
  const messages: ChatMessage[] = [];
  const replies: Generated[] = [];
  const stream = output.json ? process.stderr : process.stdout;
  lines.setPrompt('> ');
  if (terminal) lines.prompt();
  for await (const line of lines) {
    if (line.trim() === '') continue;
    messages.push({ role: 'user', content: line });
    const stop = new AbortController();
    const interrupt = () => stop.abort();
    lines.once('SIGINT', interrupt);
    const sampling = { ...CHAT, maxTokens: MAX_TOKENS, seed: randomInt(2 ** 31) };
    const reply = voice.generate(messages, sampling, stop.signal);
    for (let step = await reply.next(); ; step = await reply.next()) {
      if (step.done) {
        const { text, droppedTurns } = step.value;
        messages.push({ role: 'assistant', content: text });
        if (droppedTurns)
          output.note(`\n(The first ${droppedTurns} turns no longer fit and were not read.)`);
        replies.push(step.value);
        break;
      }
      stream.write(step.value);
    }
    lines.off('SIGINT', interrupt);
    stream.write('\n');
    if (terminal) lines.prompt();
  }
  if (output.json) output.answer(replies, '');
}

const Messages = v.pipe(
  v.array(v.object({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() })),
  v.minLength(1),
);
const Line = v.object({ id: v.optional(v.union([v.string(), v.number()])), messages: Messages });

interface Inputs {
  many: boolean;
  items: v.InferOutput<typeof Line>[];
}

/** A JSON array of messages, or JSON lines of `{id, messages}`. Throws `cli/bad-messages`. */
async function readMessages(path: string): Promise<Inputs> {
  try {
    const text = await readFile(path, 'utf8');
    if (text.trimStart().startsWith('['))
      return { many: false, items: [{ messages: v.parse(Messages, JSON.parse(text)) }] };
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    return { many: true, items: lines.map((line) => v.parse(Line, JSON.parse(line))) };
  } catch (cause) {
    throw new RapportError(
      'cli/bad-messages',
      `${path} holds no chat messages (${(cause as Error).message}).`,
      'Give [{"role": "user", "content": "…"}], or JSON lines of {"id": …, "messages": […]}.',
      { cause },
    );
  }
}

function needAssistantLast(messages: readonly ChatMessage[]): void {
  if (messages.at(-1)?.role === 'assistant') return;
  throw new RapportError(
    'cli/nothing-to-score',
    'The last message is not the assistant’s.',
    'End the messages with {"role": "assistant", "content": "…"}.',
  );
}
