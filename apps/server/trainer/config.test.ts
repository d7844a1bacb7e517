import { expect, test } from 'vitest';
import { dpoDefaults, ktoDefaults, ppoDefaults } from '@rapport/rlhf';
import { checkConfig, checkMethods } from './config.ts';

const refusal = (config: Record<string, unknown>) => {
  try {
    return checkConfig(config);
  } catch (error) {
    return error;
  }
};

test('defaults, and what the documents show, are accepted', () => {
  const { maxSteps: _, ...dpo } = dpoDefaults;
  const { maxSteps: __, ...kto } = ktoDefaults;
  const documented = {
    seed: 1,
    nllLimit: 0.01,
    gate: { kl: 1 },
    safety: {},
    demonstrations: { file: '/path/rows.jsonl', shots: 2 },
    arena: { prompts: 2, maxTokens: 16 },
    text: { mixed: 0, measured: 2 },
    base: 'int8',
    place: { fromLayer: 0, targets: ['q_proj', 'v_proj'] },
    sft: { epochs: 3, packing: true },
    reward: { heads: 1 },
  };
  expect(refusal({})).toBeUndefined();
  expect(refusal({ ...documented, dpo, kto, ppo: ppoDefaults })).toBeUndefined();
});

test.each<[string, Record<string, unknown>]>([
  ['The config is wrong at dop', { dop: { beta: 1 } }],
  ['The config is wrong at seed', { seed: 'one' }],
  ['The config is wrong at nllLimit', { nllLimit: -1 }],
  ['"dpo" of the config is wrong at learningRate', { dpo: { learningRate: 1e-3 } }],
  ['"dpo" of the config is wrong at its top', { dpo: 4 }],
  ['"dpo" of the config is wrong at promptsPerStep', { dpo: { promptsPerStep: 0 } }],
  ['"dpo" of the config is wrong at kind', { dpo: { kind: 'hinge' } }],
  ['"dpo" of the config is wrong at epochs', { dpo: { epochs: 0.5 } }],
  ['"kto" of the config is wrong at batch', { kto: { batch: 0 } }],
  ['"sft" of the config is wrong at batch', { sft: { batch: -8 } }],
  ['"sft" of the config is wrong at residualDropout', { sft: { residualDropout: 1 } }],
  ['"ppo" of the config is wrong at minibatches', { ppo: { minibatches: 0 } }],
  ['"ppo" of the config is wrong at temperature', { ppo: { temperature: 0 } }],
  ['"ppo" of the config is wrong at lrPeak', { ppo: { lrPeak: '6e-4' } }],
  ['"reward" of the config is wrong at heads', { reward: { heads: 0 } }],
  ['The config is wrong at base', { base: 'int4' }],
  ['"place" of the config is wrong at fromLayer', { place: { fromLayer: -1 } }],
  ['"place" of the config is wrong at targets', { place: { targets: [] } }],
  ['"arena" of the config is wrong at prompts', { arena: { prompts: 0 } }],
  ['"text" of the config is wrong at mixd', { text: { mixd: 1 } }],
  ['"demonstrations" of the config is wrong at file', { demonstrations: { file: '' } }],
  ['"demonstrations" of the config is wrong at file', { demonstrations: { shots: 2 } }],
])('a config is refused: %s', (message, config) => {
  expect(refusal(config)).toEqual(
    expect.objectContaining({
      code: 'train/bad-config',
      message: expect.stringContaining(message),
      remedy: expect.stringMatching(/^Its names are \w+, \w+/),
    }),
  );
});

test('where only methods can be told how to learn, everything else is refused', () => {
  checkMethods({ dpo: { beta: 0.1 }, reward: { heads: 1 } });
  expect(() => checkMethods({ gate: { kl: 1 } })).toThrow('The config is wrong at gate');
  expect(() => checkMethods({ dpo: { beta: 0 } })).toThrow('"dpo" of the config is wrong at beta');
});
