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
  adapterOf,
  GREEDY,
  openEngine,
  readAdapterFolder,
  type Opened,
  type Reply,
  type Sampling,
} from '../../speaking.ts';
import { findModel, isRelease, releaseFiles } from '../model.ts';
import type { Output } from '../output.ts';
import { common, inFolder, whole, withModel, type CommonFlags } from '../session.ts';

/** How people are answered unless they say otherwise. */
const CHAT = { temperature: 0.7, topK: 50, topP: 0.9, minP: 0, repetitionPenalty: 1.1 };
const MAX_TOKENS = 512;

interface SpeakFlags extends CommonFlags {
  release?: string;
  messages: string;
  greedy?: boolean;
  maxTokens: number;
  seed?: number;
  adapter?: string;
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
    inFolder(flags, async (context, output) => {
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
        .option('--adapter <dir>', 'a folder in PEFT layout')
        .addOption(
          new Option('--backend <name>', 'kernels').choices(['fp32', 'int8']).default('fp32'),
        ),
    ),
  ).action((flags: SpeakFlags) =>
    inFolder(flags, async (context, output) => {
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
    inFolder(flags, async (context, output) => {
      const inputs = await readMessages(flags.messages);
      for (const { messages } of inputs.items) needAssistantLast(messages);
      const { engine } = await open(context, flags);
      const scores = [];
      for (const { id, messages } of inputs.items) {
        const { tokens, logprobs } = await engine.score(messages);
        scores.push({ ...(id !== undefined && { id }), tokens, logprobs });
      }
      const sum = ({ logprobs }: { logprobs: number[] }) => logprobs.reduce((a, b) => a + b, 0);
      const text = scores.map(
        (score) => `${sum(score).toFixed(4)} nats, ${score.tokens.length} tokens`,
      );
      output.answer(inputs.many ? scores : scores[0], text.join('\n'));
    }),
  );
}

async function open(context: Context, flags: SpeakFlags): Promise<Opened> {
  const name = flags.release ?? flags.model;
  if (flags.release || (await isRelease(context, name))) return openRelease(context, name!, flags);
  const opened = await openEngine(await placeOf(await findModel(context, flags.model)));
  if (flags.adapter) opened.engine.setAdapter(await readAdapterFolder(flags.adapter));
  return opened;
}

async function openRelease(context: Context, name: string, flags: SpeakFlags): Promise<Opened> {
  const { place, adapter } = await releaseFiles(context, name);
  const opened = await openEngine(place);
  if (flags.adapter) opened.engine.setAdapter(await readAdapterFolder(flags.adapter));
  else if (adapter) {
    const { path } = await context.blobs.need(adapter.digest);
    const { rank, alpha, targets } = adapter;
    const config = { peft_type: 'LORA', r: rank, lora_alpha: alpha, target_modules: targets };
    opened.engine.setAdapter(adapterOf({ config, bytes: await readFile(path) }));
  }
  return opened;
}

async function reply(
  { engine }: Opened,
  messages: ChatMessage[],
  { greedy, maxTokens, seed = randomInt(2 ** 31) }: SpeakFlags,
): Promise<Reply> {
  const sampling: Sampling = { ...(greedy ? GREEDY : CHAT), maxTokens, seed };
  const stream = engine.generate(messages, sampling);
  for (;;) {
    const step = await stream.next();
    if (step.done) {
      const { promptTokens, tokens, logprobs, text, finishReason, timing } = step.value;
      return { promptTokens, tokens, logprobs, text, finishReason, timing };
    }
  }
}

/** Reads lines and streams replies until the input ends; Ctrl-C stops a reply, twice leaves. */
async function talk({ engine }: Opened, output: Output): Promise<void> {
  const terminal = process.stdin.isTTY;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal });
  const messages: ChatMessage[] = [];
  lines.setPrompt('> ');
  if (terminal) lines.prompt();
  for await (const line of lines) {
    if (line.trim() === '') continue;
    messages.push({ role: 'user', content: line });
    const stop = new AbortController();
    const interrupt = () => stop.abort();
    lines.once('SIGINT', interrupt);
    const sampling = { ...CHAT, maxTokens: MAX_TOKENS, seed: randomInt(2 ** 31) };
    const stream = engine.generate(messages, sampling, stop.signal);
    for (let step = await stream.next(); ; step = await stream.next()) {
      if (step.done) {
        messages.push({ role: 'assistant', content: step.value.text });
        if (output.json) output.answer(step.value, '');
        break;
      }
      if (!output.json) process.stdout.write(step.value.text);
    }
    lines.off('SIGINT', interrupt);
    if (!output.json) process.stdout.write('\n');
    if (terminal) lines.prompt();
  }
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
