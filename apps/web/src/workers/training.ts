// The typed port to the training worker: what the page may ask of it, in plain data.
import type { Judgement } from '@rapport/core';
import type { StopCode } from '@rapport/rlhf';
import type { Method, Remote } from './channel.ts';
import type { AdapterRef, ModelManifest } from './inference.ts';
import type { Trial, TrainingBackend } from './plan.ts';

/** 'ppo' is a full round: reward model, DPO warm start, then PPO on the person's own prompts. */
export type TrainingMethod = 'dpo' | 'kto' | 'ppo';

/** All that a run needs; the same order with the same id goes on where an earlier attempt stopped. */
export interface TrainingOrder {
  id: string;
  manifest: ModelManifest;
  backend: TrainingBackend;
  /** Padded tokens of one run of a graph; missing in orders of earlier versions. */
  budgetTokens?: number;
  /** What layers may keep for the backward pass; unlimited where it is missing. */
  activationBytes?: number;
  /** The release the person talks with: the personal adapter is learned on top of it. */
  release: AdapterRef | null;
  method: TrainingMethod;
  /** What is learned from. */
  lessons: Judgement[];
  /** What is kept apart, to compare before and after. */
  heldOut: Judgement[];
  seed: number;
}

/**
 * `opening` the model, `reading` the replies, `learning` from them, `practising` with replies of its own,
 * `comparing` before and after.
 */
export type TrainingStage = 'opening' | 'reading' | 'learning' | 'practising' | 'comparing';

/** One optimiser step, or one round of PPO. */
export interface TrainingStep {
  step: number;
  of: number;
  loss: number | null;
  /** DPO: mean β·(ℓ_better − ℓ_worse) of the pairs of this step. KTO: mean β·ℓ of its good replies − of its bad ones. */
  margin: number | null;
  /** PPO: mean score of the replies of this round by the reward model, in standard deviations. */
  score: number | null;
  /** Mean log π_ref − log π per token of the replies of this step: KL(π_ref‖π) where the reference spoke them. */
  kl: number;
  /** Milliseconds this step computed, waiting left out. */
  workMs: number;
}

/** 'device-lost': the graphics processor went away; the run goes on with the processor from the last saved step. */
export type TrainingNews =
  | { kind: 'device-lost' }
  | { kind: 'stage'; stage: TrainingStage; done: number; of: number }
  | { kind: 'step'; stage: 'learning' | 'practising'; step: TrainingStep };

/** The person's held-out judgements, before and after: how often the model prefers what they prefer. */
export interface Comparison {
  /** Pairs of replies kept apart, of one prompt for DPO, of any two thumbs for KTO. */
  pairs: number;
  /** Pairs whose better reply is likelier per token. */
  rightBefore: number;
  rightAfter: number;
  /** Pairs whose better reply gained on the other. */
  gained: number;
  /** Mean difference of the log-probs per token, better − worse. */
  marginBefore: number;
  marginAfter: number;
  /** Relative change of the negative log-likelihood of ordinary text. */
  nllChange: number;
  /** By how much the adapter was turned down to cost no more than it may; 1 is not at all. */
  scale: number;
}

export interface TrainingOutcome {
  adapter: AdapterRef;
  comparison: Comparison;
  tokensTrained: number;
  seconds: number;
  /** Why it ended early: the adapter is the last one that was good. */
  stopped?: StopCode;
}

export interface TrialRequest {
  manifest: ModelManifest;
  backend: TrainingBackend;
}

/** The methods of the training worker. */
export interface TrainingService {
  /** Tries to train with a backend, for some seconds; null where this device has none such. */
  trial: Method<TrialRequest, never, Trial | null>;
  /** Trains to the end; aborted, or ended, it leaves in the database what the same order goes on from. */
  train: Method<TrainingOrder, TrainingNews, TrainingOutcome>;
  /** True: compute nothing until told otherwise. Takes effect before the next piece of work. */
  hold: Method<boolean, never, void>;
}

export type Trainer = Remote<TrainingService>;
