// rapport simulate, and rapport evaluate reward · arena: what training is worth, measured.
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Option, type Command } from 'commander';
import { RapportError, type Adapter } from '@rapport/core';
import {
  Speaker,
  arena,
  duelsOf,
  evaluateReward,
  figureWords,
  questionOf,
  rateByRankings,
  ratingsFigure,
  rewardFigures,
  scoreOf,
  simulate,
  simulationFigures,
  svgOf,
} from '@rapport/rlhf';
import type { Annotator, Drawing, Instruction, RewardOptions, SimulationSpec } from '@rapport/rlhf';
import type { Context } from '../../context.ts';
import { openModel, placeOf, tokenizerOf, type ModelPlace } from '../../models.ts';
import { nodeRuntime } from '../../node-runtime.ts';
import { registerBase } from '../../releases/base.ts';
import { releaseRankings } from '../../store/release-rankings.ts';
import { checkMethods } from '../../trainer/config.ts';
import { writeAdapter } from '../../trainer/peft.ts';
import { linesOf, readConfig } from '../json-files.ts';
import { findModel, openRelease } from '../model.ts';
import { listing, table, type Output } from '../output.ts';
import { asked, rankingsOfRows, type PreferenceRow } from '../preference-rows.ts';
import {
  common,
  inFolder,
  inFolderOrNew,
  usage,
  whole,
  withModel,
  type CommonFlags,
} from '../session.ts';

const METHODS = ['ppo', 'rloo', 'dpo', 'kto', 'sft', 'bestofn'] as const;
const ORDINARY_TEXT = fileURLToPath(new URL('../../trainer/ordinary-text.jsonl', import.meta.url));

interface SimulateFlags extends CommonFlags {
  annotator: string;
  prompts: string;
  method: SimulationSpec['method'];
  votes: number;
  replies: number;
  noise: number;
  seed: number;
  maxTokens: number;
  control?: boolean;
  frontier?: boolean;
  out?: string;
  config?: string;
}

interface RewardFlags extends CommonFlags, Required<RewardOptions> {
  train: string;
  test: string;
  svg?: string;
}

interface ArenaFlags extends CommonFlags {
  fromVotes?: boolean;
  releases?: string;
  prompts?: string;
  annotator?: string;
  samples: number;
  maxTokens: number;
  svg?: string;
}

export function evaluateCommands(program: Command): void {
  withModel(
    common(
      program
        .command('simulate')
        .description('a simulated person votes, a method learns, the person judges')
        .requiredOption('--annotator <file>', 'module that scores (prompt, reply)')
        .requiredOption('--prompts <file>', 'JSON lines of {id, instruction, input?}')
        .addOption(new Option('--method <method>', 'how').choices(METHODS).default('ppo'))
        .option('--votes <n>', 'ranked replies, thumbs (kto) or pairs (dpo)', count, 60)
        .option('--replies <k>', 'replies per prompt', count, 4)
        .option('--noise <p>', 'probability that a judgement is flipped', share, 0)
        .option('--seed <s>', 'seed of votes and training', whole, 0)
        .option('--max-tokens <n>', 'longest reply', count, 256)
        .option('--control', 'also judge the warm start scaled to the KL of the result')
        .option('--frontier', 'also judge the result turned down and up')
        .option('--config <file>', 'JSON with hyper-parameters')
        .option('--out <dir>', 'where the adapter, the report and its drawing go'),
    ),
  ).action((flags: SimulateFlags) =>
    inFolderOrNew(flags, async (context, output) => {
      const sizes = sizesOf(flags);
      const config = flags.config ? await readConfig(flags.config) : {};
      checkMethods(config);
      const annotator = await annotatorOf(flags.annotator);
      const prompts = await linesOf<Instruction>(flags.prompts);
      if (flags.out) await mkdir(flags.out, { recursive: true });
      const opened = await openForTraining(context, flags.model);
      const run = simulate(
        {
          annotator,
          prompts,
          demonstrations: await linesOf<Instruction>(ORDINARY_TEXT),
          method: flags.method,
          ...sizes,
          noise: flags.noise,
          seed: flags.seed,
          maxTokens: flags.maxTokens,
          control: flags.control ?? false,
          frontier: flags.frontier ?? false,
          judgedPrompts: 48,
          judgedSamples: 4,
          ...config,
        },
        { ...opened, endOfTurn: opened.tokenizer.endOfTurn, now: () => performance.now() },
      );
      const { result, samples, wins, ...report } = await follow(run, output);
      const answer = { ...report, votes: flags.votes };
      output.answer(answer, listing(answer));
      if (!flags.out) return;
      await writeAdapter(join(flags.out, 'adapter'), result.adapter);
      const whole = JSON.stringify({ flags, ...answer, wins, samples }, null, 2);
      await writeFile(join(flags.out, 'report.json'), whole);
      await draw(join(flags.out, 'report.svg'), simulationFigures(answer, figureWords));
    }),
  );

  const evaluate = program.command('evaluate').description('reward models and releases, measured');
  withModel(
    common(
      evaluate
        .command('reward')
        .description('a reward model on preference pairs or rankings')
        .requiredOption('--train <file>', 'rows to learn from (.jsonl or .jsonl.gz)')
        .requiredOption('--test <file>', 'rows to be measured on')
        .option('--heads <n>', 'heads of the ensemble', count, 5)
        .option('--centring <c>', 'weight of (r⁺ + r⁻)², which keeps scores near zero', share, 0)
        .option('--margin <m>', 'by how much the better reply must lead', share, 0)
        .option('--label-smoothing <e>', 'share of judgements taken to be flipped', share, 0)
        .option('--seed <s>', 'seed of the ensemble', whole, 0)
        .option('--svg <file>', 'where accuracy and reliability are drawn'),
    ),
  ).action((flags: RewardFlags) =>
    inFolderOrNew(flags, async (context, output) => {
      const started = performance.now();
      const train = await linesOf<PreferenceRow>(flags.train);
      const test = await linesOf<PreferenceRow>(flags.test);
      const opened = await openForTraining(context, flags.model);
      const rankings = (rows: PreferenceRow[]) => rankingsOfRows(rows, opened.tokenizer);
      const { heads, centring, margin, labelSmoothing, seed } = flags;
      const pairs = { train: rankings(train), test: rankings(test) };
      const options = { heads, centring, margin, labelSmoothing, seed };
      const report = await follow(evaluateReward(pairs, opened, options), output);
      const seconds = (performance.now() - started) / 1000;
      output.answer({ ...report, seconds }, listing({ ...report, seconds }));
      if (flags.svg) await draw(flags.svg, rewardFigures(report, figureWords));
    }),
  );
  withModel(
    common(
      evaluate
        .command('arena')
        .description('blind pairs between releases, judged by a module, or by people already')
        .option('--from-votes', 'by the rankings that people gave; nobody speaks anew')
        .option('--releases <ids>', 'two or more, with commas; base is the bare model')
        .option('--prompts <file>', 'JSON lines of {id, instruction, input?}')
        .option('--annotator <file>', 'module that scores (prompt, reply)')
        .option('--samples <n>', 'replies per prompt and release', count, 2)
        .option('--max-tokens <n>', 'longest reply', count, 256)
        .option('--svg <file>', 'where the ratings are drawn'),
    ),
  ).action((flags: ArenaFlags) =>
    inFolder(flags, async (context, output) => {
      const { ratings, ...rest } = flags.fromVotes
        ? await rateByVotes(context)
        : await fight(context, askedOf(flags), output);
      const rows = ratings.map((r) => [r.release, r.rating, r.low, r.high]);
      output.answer({ ratings, ...rest }, table(['release', 'rating', 'low', 'high'], rows));
      if (flags.svg) await draw(flags.svg, [ratingsFigure(ratings, figureWords)]);
    }),
  );
}

/** What people said of releases: ratings, and every two that were compared. Throws `arena/no-votes`. */
async function rateByVotes({ db }: Context) {
  const rankings = await releaseRankings(db);
  const ratings = rateByRankings(rankings);
  if (ratings.length > 0) return { ratings, duels: duelsOf(rankings) };
  throw new RapportError(
    'arena/no-votes',
    'No ranking holds replies of two releases.',
    'Compare them with --releases, --prompts and --annotator until people have ranked both.',
  );
}

type Asked = Omit<ArenaFlags, 'releases' | 'prompts' | 'annotator'> &
  Record<'releases' | 'prompts' | 'annotator', string>;

function askedOf(flags: ArenaFlags): Asked {
  const { releases, prompts, annotator } = flags;
  if (releases && prompts && annotator) return { ...flags, releases, prompts, annotator };
  throw usage('evaluate arena needs --from-votes, or --releases, --prompts and --annotator.');
}

/** Writes drawings one below the other into one SVG file. */
const draw = (file: string, drawings: readonly Drawing[]) => writeFile(file, svgOf(drawings));

/** `--votes` counts what the person gives: ranked replies, thumbs, or pairs out of groups of K. */
function sizesOf({ method, votes, replies }: SimulateFlags) {
  if (method === 'dpo') {
    const compared = Math.max(replies, 2);
    return { votes: votes * compared, replies: compared, pairs: votes };
  }
  if (method !== 'kto' && replies < 2)
    throw usage('--replies is at least 2: one compares nothing.');
  return { votes, replies };
}

const openForTraining = async (context: Context, spec: string | undefined) =>
  openPlace(await placeOf(await findModel(context, spec)));

async function openPlace(place: ModelPlace) {
  const checkpoint = await openModel(place);
  return {
    checkpoint,
    tokenizer: await tokenizerOf(checkpoint),
    runtime: await nodeRuntime(checkpoint),
  };
}

/** Runs to the end; a line on standard error whenever a stage moves by a tenth. */
async function follow<R extends { stage: string; step: number; of: number }, T>(
  run: AsyncGenerator<R, T>,
  output: Output,
): Promise<T> {
  const started = performance.now();
  let shown = '';
  for (;;) {
    const next = await run.next();
    if (next.done) return next.value;
    const { stage, step, of } = next.value;
    const line = `${stage} ${Math.floor((10 * step) / of)}`;
    if (line === shown) continue;
    shown = line;
    const seconds = Math.round((performance.now() - started) / 1000);
    output.note(`${seconds} s  ${stage}  ${step}/${of}`);
  }
}

/** The default export of a module, or its `score`. Throws `simulate/no-annotator`, or what the file system says. */
export async function annotatorOf(file: string): Promise<Annotator> {
  const path = resolve(file);
  await access(path);
  const module = (await import(pathToFileURL(path).href).catch((cause: Error) => {
    throw noAnnotator(`${file} cannot be loaded: ${cause.message}.`, cause);
  })) as Record<string, unknown>;
  const found = [module['default'], module['score']].find((each) => typeof each === 'function');
  if (found) return found as Annotator;
  throw noAnnotator(`${file} exports no function as default or score.`);
}

const noAnnotator = (message: string, cause?: unknown) =>
  new RapportError(
    'simulate/no-annotator',
    message,
    'Give a module with export default (prompt, reply) => number, larger is better.',
    { cause },
  );

async function fight(context: Context, flags: Asked, output: Output) {
  const { samples: replies, maxTokens } = flags;
  const names = flags.releases.split(',').filter(Boolean);
  if (names.length < 2) throw usage('--releases needs two or more names, with commas.');
  needDifferent(names);
  const annotator = await annotatorOf(flags.annotator);
  const questions = (await linesOf<Instruction>(flags.prompts)).map(questionOf);
  const contestants: Contestant[] = [];
  for (const name of names) contestants.push(await contestantOf(context, name, flags.model));
  needDifferent(contestants.map(({ id }) => id));
  const scores = new Map<string, number[][]>();
  let stage: Awaited<ReturnType<typeof stageOf>> | undefined;
  for (const [i, { base, place, adapter }] of contestants.entries()) {
    if (stage?.base !== base) {
      await stage?.speaker.dispose();
      stage = await stageOf(base, place, questions);
    }
    const { speaker, prompts, tokenizer } = stage;
    output.note(`${names[i]} speaks`);
    const sampling = { replies, maxTokens, temperature: 0.9, seed: i + 1, adapter };
    const run = speaker.sample(prompts, sampling);
    let next = await run.next();
    while (!next.done) next = await run.next();
    const said = next.value.map((list, p) =>
      list.map(({ tokens }) =>
        scoreOf(annotator, questions[p]!, tokenizer.decode(tokens, { skipSpecial: true }).trim()),
      ),
    );
    scores.set(names[i]!, said);
  }
  await stage?.speaker.dispose();
  const { ratings, winRate } = arena(scores);
  return { ratings, ...winRate };
}

function needDifferent(names: readonly string[]): void {
  if (new Set(names).size < names.length) throw usage('--releases names one of them twice.');
}

/** Who is compared: a release on its own base, or with the id `base` the bare model. */
interface Contestant {
  id: string;
  /** Digest of the model it speaks by. */
  base: string;
  place: ModelPlace;
  adapter: Adapter | null;
}

async function contestantOf(
  context: Context,
  name: string,
  spec: string | undefined,
): Promise<Contestant> {
  if (name !== 'base') return openRelease(context, name);
  const model = await findModel(context, spec);
  const { digest } = await registerBase(context.blobs, model);
  return { id: name, base: digest, place: await placeOf(model), adapter: null };
}

/** Opens a base for those who speak by it, with the questions as it reads them. */
async function stageOf(base: string, place: ModelPlace, questions: readonly string[]) {
  const { checkpoint, tokenizer, runtime } = await openPlace(place);
  const { endOfTurn } = tokenizer;
  const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn, fromLayer: 0 });
  const prompts = questions.map((content) => asked([{ role: 'user', content }], tokenizer));
  return { base, tokenizer, speaker, prompts };
}

/** A number of things, of which there must be one. */
function count(text: string): number {
  const value = whole(text);
  if (value > 0) return value;
  throw usage(`${text} is not a number above 0.`);
}

/** A share from 0 to 1. */
function share(text: string): number {
  const value = Number(text);
  if (text !== '' && value >= 0 && value <= 1) return value;
  throw usage(`${text} is not a number from 0 to 1.`);
}
