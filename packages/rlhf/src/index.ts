// The door of @rapport/rlhf: how a model learns from people.

// Autodiff: gradients as graph nodes.
export { gradients } from './autodiff/gradients.ts';
