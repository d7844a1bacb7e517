// What a tokenizer is built from: the contents of tokenizer.json, tokenizer_config.json and generation_config.json.
// A GGUF file carries the same facts in its metadata; from-gguf.ts writes them in this form.

/** The parts of a byte-level BPE tokenizer.json that matter here; the rest is passed through. */
export interface TokenizerJson {
  readonly model: {
    readonly type?: string;
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly string[] | readonly (readonly [string, string])[];
    readonly ignore_merges?: boolean;
  };
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
  readonly post_processor: unknown;
  readonly decoder: unknown;
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly normalized?: boolean;
}

/** The parts of a tokenizer_config.json that matter here. */
export interface TokenizerConfig {
  readonly chat_template?: unknown;
  readonly bos_token?: unknown;
  readonly eos_token?: unknown;
  readonly unk_token?: unknown;
  readonly pad_token?: unknown;
}

/** Contents of tokenizer.json and tokenizer_config.json, and of generation_config.json if there is one; not yet checked. */
export interface TokenizerSpec {
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
  readonly generationConfig?: unknown;
}
