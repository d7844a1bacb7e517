// Text to tokens and back, and conversations to prompts, for byte-level BPE models.
// Splitting, merging and templates are done by `@xenova/transformers`; turning tokens back into
// text is done here, because a stream must never show half a character.
import type { PreTrainedTokenizer } from '@xenova/transformers';
import { RapportError } from '../error.ts';
import { ByteDecoder, bytesOfToken } from './byte-level.ts';
import { checkSpec } from './check-spec.ts';
import type { TokenizerJson, TokenizerSpec } from './spec.ts';

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface Tokenizer {
  /** Token ids of `text`. No BOS is added; special tokens written in the text are recognised. */
  encode(text: string): number[];
  /** Text of `ids`; ids outside the vocabulary are nothing. Broken UTF-8 becomes U+FFFD. */
  decode(ids: readonly number[], options?: { skipSpecial?: boolean }): string;
  /** Decodes token by token, skipping special tokens; what it returns is always whole characters. */
  decodeStream(): DecodeStream;
  /**
   * The prompt the model was trained on for this conversation.
   *
   * @throws RapportError `tokenizer/no-template` or `tokenizer/template` (the template refused).
   */
  renderChat(messages: readonly ChatMessage[], options: ChatOptions): string;
  /** `encode(renderChat(…))`. */
  encodeChat(messages: readonly ChatMessage[], options: ChatOptions): number[];
  /** The token with which the model ends its turn. */
  readonly endOfTurn: number;
  /** Tokens at which a reply ends: `endOfTurn`, and what else the model was published with. */
  readonly ends: ReadonlySet<number>;
  /** One more than the largest token id. The embedding may have more rows, for padding. */
  readonly vocabSize: number;
  /** sha256, lower-case hex, over vocabulary, merges, splitting, special tokens and template. */
  readonly digest: string;
}

export interface ChatOptions {
  /** Ends the prompt with the opening of an assistant message. */
  addGenerationPrompt: boolean;
}

export interface DecodeStream {
  /** Text that became certain with this token, often '' inside a character. */
  push(id: number): string;
  /** What is left at the end: U+FFFD when the last character never became whole. */
  flush(): string;
}

/**
 * Builds a tokenizer. The library is loaded on the first call.
 *
 * @throws RapportError `tokenizer/invalid` for a spec of the wrong shape, `tokenizer/unsupported`
 * for other kinds than byte-level BPE.
 */
export async function buildTokenizer(spec: TokenizerSpec): Promise<Tokenizer> {
  const { json, config, ...turn } = checkSpec(spec);
  const library = await loadLibrary();
  const digest = await digestOf(json, config.chat_template);
  let pretrained: PreTrainedTokenizer;
  try {
    pretrained = new library.PreTrainedTokenizer(json, config);
  } catch (cause) {
    throw new RapportError(
      'tokenizer/unsupported',
      `The tokenizer could not be built: ${cause instanceof Error ? cause.message : String(cause)}`,
      'Choose a model with a byte-level BPE tokenizer, such as SmolLM2, Qwen2 or GPT-2.',
      { cause },
    );
  }
  return new ByteLevelTokenizer(pretrained, tokenTable(json), turn, digest);
}

/** A token of the vocabulary, in byte-level letters, or an added one, which is matched in text as it is. */
type Token = string | { readonly content: string; readonly special: boolean };

class ByteLevelTokenizer implements Tokenizer {
  readonly endOfTurn: number;
  readonly ends: ReadonlySet<number>;
  readonly vocabSize: number;
  readonly digest: string;
  readonly #pretrained: PreTrainedTokenizer;
  readonly #tokens: readonly (Token | undefined)[];

  constructor(
    pretrained: PreTrainedTokenizer,
    tokens: readonly (Token | undefined)[],
    { endOfTurn, ends }: Pick<Tokenizer, 'endOfTurn' | 'ends'>,
    digest: string,
  ) {
    this.#pretrained = pretrained;
    this.#tokens = tokens;
    this.endOfTurn = endOfTurn;
    this.ends = ends;
    this.vocabSize = tokens.length;
    this.digest = digest;
  }

  encode(text: string): number[] {
    return text === '' ? [] : this.#pretrained.encode(text, { add_special_tokens: false });
  }

  decode(ids: readonly number[], { skipSpecial = false } = {}): string {
    const stream = this.#stream(skipSpecial);
    return ids.map((id) => stream.push(id)).join('') + stream.flush();
  }

  decodeStream(): DecodeStream {
    return this.#stream(true);
  }

  #stream(skipSpecial: boolean): DecodeStream {
    const decoder = new ByteDecoder();
    return {
      push: (id) => {
        const token = this.#tokens[id];
        if (token === undefined) return '';
        if (typeof token === 'string') return decoder.push(bytesOfToken(token));
        if (skipSpecial && token.special) return '';
        // An added token is text of its own: bytes before and after it never join to a character.
        return decoder.flush() + token.content;
      },
      flush: () => decoder.flush(),
    };
  }

  renderChat(messages: readonly ChatMessage[], { addGenerationPrompt }: ChatOptions): string {
    if (!this.#pretrained.chat_template) {
      throw new RapportError(
        'tokenizer/no-template',
        'This model has no chat template: it was not trained to hold conversations.',
        'Choose an instruction-tuned model, such as SmolLM2-135M-Instruct.',
      );
    }
    try {
      return this.#pretrained.apply_chat_template([...messages], {
        tokenize: false,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      throw new RapportError(
        'tokenizer/template',
        `The model's chat template refused this conversation: ${cause instanceof Error ? cause.message : String(cause)}`,
        'Alternate user and assistant messages, with at most one system message at the start.',
        { cause },
      );
    }
  }

  encodeChat(messages: readonly ChatMessage[], options: ChatOptions): number[] {
    return this.encode(this.renderChat(messages, options));
  }
}

function tokenTable(json: TokenizerJson): (Token | undefined)[] {
  const table: (Token | undefined)[] = [];
  const { vocab } = json.model;
  for (const token of Object.keys(vocab)) table[vocab[token]!] = token;
  for (const { id, content, special } of json.added_tokens) table[id] = { content, special };
  return table;
}

/**
 * The library, told never to look for files. Loading it sets ONNX Runtime's WebAssembly paths to a
 * public server unless they are set; that is undone, because nothing here may call out.
 */
async function loadLibrary() {
  const library = await import('@xenova/transformers');
  const { env } = library;
  env.allowRemoteModels = false;
  env.allowLocalModels = false;
  const wasm = env.backends.onnx.wasm;
  if (wasm && JSON.stringify(wasm.wasmPaths ?? null).includes('cdn.jsdelivr.net')) {
    delete wasm.wasmPaths;
  }
  return library;
}

async function digestOf(json: TokenizerJson, template: unknown): Promise<string> {
  const facts = [json.model.vocab, json.model.merges, json.added_tokens, json.normalizer];
  const text = JSON.stringify([...facts, json.pre_tokenizer, template ?? null]);
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
