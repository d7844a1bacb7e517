// The door of @rapport/rlhf: how a model learns from people.

// Autodiff: gradients as graph nodes.
export { gradients } from './autodiff/gradients.ts';

// Losses: graph functions named as in their papers.
export { rankingLoss } from './losses/ranking.ts';
export { dpoLoss, ktoLoss } from './losses/preference.ts';
export { crossEntropy, policyLoss, valueLoss } from './losses/policy.ts';

// Optimisation: AdamW.
export { AdamW } from './optim/adamw.ts';
export type { Parameters } from './optim/adamw.ts';

// Training: the model with its trunk kept, judgements as tokens, the methods, the pipeline.
export { logprobOf, Policy } from './train/policy.ts';
export type { PolicyOptions, RowScore } from './train/policy.ts';
export { placeOf } from './train/policy-graph.ts';
export type { PolicyOutputs } from './train/policy-graph.ts';
export { demonstrationRows, ordinaryText, questionOf } from './train/demonstrations.ts';
export type { Demonstration } from './train/demonstrations.ts';
export { comparedIn, loneVotes, rankingsOf, readBy, thumbsOf } from './train/judgements.ts';
export { newAdapter, scaleAdapter, shrinkAdapter } from './train/adapter.ts';
export { trainAllWeights } from './train/all-weights.ts';
export { nll, nllGrowth, NLL_LIMIT, scaleWithin } from './train/scale-within.ts';
export { cutTo, fitted, partsOf, shortened } from './train/room.ts';
export type { Room } from './train/room.ts';
export { withFairEnds, withoutCommonEnds } from './train/rankings.ts';
export type { Ranking } from './train/rankings.ts';
export { documentRow } from './train/rows.ts';
export type { Row, TrunkRow } from './train/rows.ts';
export { stepsOver } from './train/course.ts';
export type { CourseState } from './train/course.ts';
export type { StopCode, Trained } from './train/guards.ts';
export { dpoDefaults, trainDpo } from './train/dpo.ts';
export type { PreparedRanking } from './train/dpo.ts';
export { ktoDefaults, rankOf, thumbGroups, trainKto } from './train/kto.ts';
export type { Thumb } from './train/kto.ts';
export { ppoDefaults, trainPpo } from './train/ppo.ts';
export type { PpoState } from './train/ppo.ts';
export { featuresOf, rewardOf, tokenScores, trainReward } from './train/reward.ts';
export type { RewardModel, RewardOptions } from './train/reward.ts';
export { runPipeline } from './train/pipeline.ts';
export type { PipelineRecord, PipelineResult, PipelineSpec, Platform } from './train/pipeline.ts';

// Evaluation: people, simulated ones, win rates.
export { scoreOf } from './evaluation/annotator.ts';
export type { Annotator } from './evaluation/annotator.ts';
export { noisyRanks, sampleBase, simulate } from './evaluation/simulate.ts';
export type {
  BaseSamples,
  Instruction,
  SimulationRecord,
  SimulationResult,
  SimulationSpec,
} from './evaluation/simulate.ts';
export { ownArena } from './evaluation/own-arena.ts';
export type { ArenaResult, ArenaSpec } from './evaluation/own-arena.ts';
export { goldenErrors } from './evaluation/golden-pairs.ts';
export { outliers } from './evaluation/outliers.ts';
export type { SignedRanking } from './evaluation/outliers.ts';
export { askCanaries, compareAnswers } from './evaluation/canaries.ts';
export type { Answer, Canary, CanaryResult } from './evaluation/canaries.ts';
export { evaluateReward } from './evaluation/evaluate-reward.ts';
export type { AnnotatedRanking } from './evaluation/evaluate-reward.ts';
export type { RewardReport } from './evaluation/reward-report.ts';
export { arena, duelsOf, rateByRankings } from './evaluation/arena.ts';
export type { Duel, RankedReply, Rating } from './evaluation/arena.ts';
export { meanOver, winRate } from './evaluation/win-rate.ts';

// Figures: what was measured, as SVG or as shapes for a page.
export { pixel, straight, svgOf, threeDigits, written } from './figures/drawing.ts';
export type { Drawing, Mark } from './figures/drawing.ts';
export { curves } from './figures/curves.ts';
export {
  figureWords,
  ratingsFigure,
  rewardFigures,
  simulationFigures,
  winRateFigure,
} from './figures/reports.ts';
export type { FigureWords } from './figures/reports.ts';

// Rollouts: replies by the policy.
export { Speaker } from './rollout/speaker.ts';
export type { SampledReply } from './rollout/speaker.ts';
