// What the config of a run may say: every name and the range of its value. Defaults are with whoever reads them;
// limits of safety and of the gate have rules of their own.
import * as v from 'valibot';
import type { PipelineSpec } from '@rapport/rlhf';
import { limitsOf } from './limits.ts';

const number = v.pipe(v.number(), v.finite());
const amount = v.pipe(number, v.minValue(0));
const positive = v.pipe(number, v.gtValue(0));
const share = v.pipe(number, v.minValue(0), v.maxValue(1));
/** Of what is left when a share is dropped. */
const dropped = v.pipe(number, v.minValue(0), v.ltValue(1));
const integer = v.pipe(number, v.safeInteger());
const whole = v.pipe(integer, v.minValue(0));
/** Of steps, rows, replies: none would train nothing, or never end. */
const count = v.pipe(integer, v.minValue(1));

const lora = { rank: count, alpha: positive, rsLora: v.boolean() };
/** When a run must stop. */
const limits = { klStop: number, lengthStop: amount };
/** How documents are mixed in, and where random numbers begin. */
const shared = { ...limits, ptxBalance: amount, ptxRows: whole, seed: integer };

/** Rules for every hyper-parameter of a stage, and for no other. */
type RulesOf<Stage extends 'place' | 'reward' | 'dpo' | 'ppo' | 'kto' | 'sft'> = Record<
  keyof NonNullable<PipelineSpec[Stage]>,
  v.GenericSchema
>;

const place: RulesOf<'place'> = {
  fromLayer: whole,
  targets: v.pipe(v.array(v.string()), v.minLength(1)),
};

const reward: RulesOf<'reward'> = {
  heads: count,
  margin: amount,
  labelSmoothing: share,
  centring: amount,
  seed: integer,
};

const dpo: RulesOf<'dpo'> = {
  ...lora,
  ...shared,
  beta: positive,
  kind: v.picklist(['sigmoid', 'ipo']),
  labelSmoothing: share,
  focus: amount,
  lengthNormalised: v.boolean(),
  lrPeak: amount,
  epochs: count,
  minSteps: whole,
  maxSteps: count,
  promptsPerStep: count,
  chosenNll: amount,
  warmupSteps: whole,
};

const kto: RulesOf<'kto'> = {
  ...lora,
  ...shared,
  beta: positive,
  lengthNormalised: v.boolean(),
  lrPeak: amount,
  epochs: count,
  minSteps: whole,
  maxSteps: count,
  batch: count,
  mismatched: count,
  focus: amount,
  warmupSteps: whole,
};

const sft: RulesOf<'sft'> = {
  ...lora,
  ...limits,
  lrPeak: amount,
  epochs: count,
  batch: count,
  warmupSteps: whole,
  residualDropout: dropped,
  loraDropout: dropped,
  packing: v.boolean(),
  rateEvery: count,
  seed: integer,
};

const ppo: RulesOf<'ppo'> = {
  ...shared,
  estimator: v.picklist(['gae', 'rloo', 'grpo']),
  iterations: count,
  promptsPerIteration: count,
  repliesPerPrompt: count,
  temperature: positive,
  maxTokens: count,
  epochs: count,
  minibatches: count,
  lrPeak: amount,
  valueLr: amount,
  gamma: share,
  lam: share,
  dense: v.boolean(),
  siblingBaseline: v.boolean(),
  clipRange: positive,
  valueClip: positive,
  valueCoef: amount,
  klCoef: amount,
  klTarget: amount,
  klHorizon: positive,
  ema: dropped,
  scoreClip: positive,
  caution: amount,
  missingEndPenalty: amount,
  updateKlStop: number,
};

/** Rules of which each holds where its name is given. */
const group = (rules: Record<string, v.GenericSchema>) =>
  v.strictObject(
    Object.fromEntries(Object.entries(rules).map(([name, rule]) => [name, v.optional(rule)])),
  );

const GROUPS = {
  place: group(place),
  reward: group(reward),
  dpo: group(dpo),
  kto: group(kto),
  sft: group(sft),
  ppo: group(ppo),
  arena: group({ prompts: count, maxTokens: count, temperature: amount }),
  text: group({ mixed: whole, measured: whole }),
  demonstrations: v.strictObject({
    file: v.pipe(v.string(), v.nonEmpty()),
    shots: v.optional(whole),
  }),
};

/** Groups that say how something is learned. */
const METHODS = ['place', 'reward', 'dpo', 'kto', 'sft', 'ppo'];

const elsewhere = v.unknown();
const Config = group({
  seed: integer,
  nllLimit: amount,
  base: v.picklist(['float32', 'int8']),
  ...Object.fromEntries(
    ['gate', 'safety', ...Object.keys(GROUPS)].map((name) => [name, elsewhere]),
  ),
});

/** Throws `train/bad-config` for a name that does not exist or a value out of its range. */
export function checkConfig(config: Record<string, unknown>): void {
  limitsOf(Config, undefined, config);
  checkGroups(config, Object.keys(GROUPS));
}

/** The same for what only says how methods learn. */
export function checkMethods(config: Record<string, unknown>): void {
  limitsOf(group(Object.fromEntries(METHODS.map((name) => [name, elsewhere]))), undefined, config);
  checkGroups(config, METHODS);
}

function checkGroups(config: Record<string, unknown>, names: readonly string[]): void {
  for (const [name, schema] of Object.entries(GROUPS)) {
    if (names.includes(name) && config[name] !== undefined) limitsOf(schema, name, config[name]);
  }
}
