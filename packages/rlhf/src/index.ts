// The door of @rapport/rlhf: how a model learns from people.
export {};
