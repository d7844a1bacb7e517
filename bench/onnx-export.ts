// The same weights in the layout transformers.js loads: one graph that takes the whole past in and gives
// past and present out, as Optimum exports it. The rest of the product has no use for it.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  Graph,
  op,
  toOnnx,
  type Checkpoint,
  type ExternalData,
  type ModelConfig,
  type Value,
} from '@rapport/core';
import { cacheFolder } from '../apps/server/model-source/cache.mjs';
import { pythonWith } from './python.ts';

export const EXPORTED_NAME = 'exported';
const EMBEDDING = 'model.embed_tokens.weight';
/** Of the files written here: another number makes them anew. */
const LAYOUT = 1;
const [P, T] = ['past_sequence_length', 'sequence_length'];
const S = `${P}+${T}`;

/**
 * The export as a graph. `input_ids` [B, T], `attention_mask` [B, P + T], `position_ids` [B, T],
 * `past_key_values.<layer>.key|value` [B, kvHeads, P, headDim], `num_logits_to_keep` (scalar, from 1 to T)
 * → `logits` [B, kept, V], `present.<layer>.key|value` [B, kvHeads, P + T, headDim].
 * Weights of linears are [in, out], so that ONNX Runtime's quantiser finds plain MatMul nodes.
 */
export function exportGraph(config: ModelConfig): Graph {
  const { hidden, heads, kvHeads, headDim, ffn, vocab, layers, context } = config;
  const groups = heads / kvHeads;
  const B = 'batch_size';
  const G = Array<string>(groups).fill(T).join('+');
  const graph = new Graph();
  const ids = graph.input('input_ids', 'int64', [B, T]);
  const attention = graph.input('attention_mask', 'int64', [B, S]);
  const positions = graph.input('position_ids', 'int64', [B, T]);
  const keep = graph.input('num_logits_to_keep', 'int64', []);

  const norm = (x: Value, path: string) =>
    op.rmsNorm(x, graph.weight(`${path}.weight`, 'float32', [hidden]), config.normEpsilon);
  const linear = (x: Value, path: string, inputs: number, outputs: number) =>
    op.matmul(x, graph.weight(`${path}.weight`, 'float32', [inputs, outputs]));
  const splitHeads = (x: Value, count: number) =>
    op.transpose(op.reshape(x, [B, T, count, headDim]), [0, 2, 1, 3]);

  const angles = op.mul(
    op.unsqueeze(op.cast(positions, 'float32'), [1, 3]),
    graph.constant({ dtype: 'float32', shape: [headDim / 2], data: frequencies(config) }),
  );
  const [cos, sin] = [
    op.cos(op.concat([angles, angles], 3)),
    op.sin(op.concat([angles, angles], 3)),
  ];
  const rotate = (x: Value) => {
    const [low, high] = op.split(x, 3, [headDim / 2, headDim / 2]) as [Value, Value];
    return op.add(op.mul(x, cos), op.mul(op.concat([op.neg(high), low], 3), sin));
  };

  const width = op.shapeOf(attention, 1, 2);
  const places = graph.constant({
    dtype: 'int64',
    shape: [context],
    data: BigInt64Array.from({ length: context }, (_, i) => BigInt(i)),
  });
  const rest = op.concat([width, op.sub(context, width)], 0);
  const [place] = graph.apply('Split', [places, rest], { axis: 0, dims: [S, 'rest'] });
  const later = op.greater(op.unsqueeze(place!, [0, 1]), op.unsqueeze(positions, [2]));
  const hiddenKeys = op.unsqueeze(op.sub(1, attention), [1]);
  const forbidden = op.add(op.cast(later, 'float32'), op.cast(hiddenKeys, 'float32'));
  const one = op.unsqueeze(op.mul(forbidden, -1e9), [1]);
  // Query rows are ordered (group, token), so a key head is read once for all its query heads.
  const mask = op.concat(Array<Value>(groups).fill(one), 2);

  let x = op.gather(graph.weight(EMBEDDING, 'float32', [vocab, hidden]), ids);
  for (let i = 0; i < layers; i++) {
    const path = `model.layers.${i}`;
    const read = norm(x, `${path}.input_layernorm`);
    const project = (name: string, count: number) =>
      splitHeads(linear(read, `${path}.self_attn.${name}`, hidden, count * headDim), count);
    const query = op.mul(rotate(project('q_proj', heads)), headDim ** -0.5);
    const joined = (side: string, fresh: Value) => {
      const name = `past_key_values.${i}.${side}`;
      const past = graph.input(name, 'float32', [B, kvHeads, P, headDim]);
      const all = op.concat([past, fresh], 2);
      graph.output(`present.${i}.${side}`, all);
      return all;
    };
    const key = joined('key', rotate(project('k_proj', kvHeads)));
    const value = joined('value', project('v_proj', kvHeads));
    const apart = op.reshape(query, [B, kvHeads, groups, T, headDim]);
    const grouped = op.reshape(apart, [B, kvHeads, G, headDim]);
    const scores = op.add(op.matmulTransposed(grouped, key), mask);
    const mixed = op.matmul(op.softmax(scores), value);
    const parted = op.reshape(mixed, [B, kvHeads, groups, T, headDim]);
    const merged = op.transpose(op.reshape(parted, [B, heads, T, headDim]), [0, 2, 1, 3]);
    const flat = op.reshape(merged, [B, T, heads * headDim]);
    x = op.add(x, linear(flat, `${path}.self_attn.o_proj`, heads * headDim, hidden));
    const fed = norm(x, `${path}.post_attention_layernorm`);
    const gate = linear(fed, `${path}.mlp.gate_proj`, hidden, ffn);
    const active = op.mul(
      op.mul(gate, op.sigmoid(gate)),
      linear(fed, `${path}.mlp.up_proj`, hidden, ffn),
    );
    x = op.add(x, linear(active, `${path}.mlp.down_proj`, ffn, hidden));
  }
  const kept = op.unsqueeze(keep, [0]);
  const sizes = op.concat([op.sub(op.shapeOf(ids, 1, 2), kept), kept], 0);
  const [, last] = graph.apply('Split', [x, sizes], { axis: 1, dims: ['dropped', 'kept'] });
  graph.output('logits', linear(norm(last!, 'model.norm'), 'lm_head', hidden, vocab));
  return graph;
}

const frequencies = ({ headDim, ropeTheta }: ModelConfig) =>
  Float32Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim));

export interface Export {
  /** Holds `exported/` with config.json and onnx/. */
  folder: string;
  /** Why there is no q8 file, where there is none. */
  q8Missing?: string;
}

/** Writes the export of the model with this sha256 once into the cache of models. */
export async function exportModel(checkpoint: Checkpoint, digest: string): Promise<Export> {
  const folder = join(cacheFolder(), 'bench', `${digest.slice(0, 16)}-${LAYOUT}`);
  const onnx = join(folder, EXPORTED_NAME, 'onnx');
  const exact = join(onnx, 'model.onnx');
  if (!existsSync(exact)) {
    await mkdir(onnx, { recursive: true });
    const graph = exportGraph(checkpoint.config);
    const places = await writeWeights(checkpoint, graph, join(onnx, 'model.onnx_data'));
    await writeFile(join(folder, EXPORTED_NAME, 'config.json'), configJson(checkpoint.config));
    await writeFile(
      exact,
      toOnnx(graph, ({ name }) => places.get(name)!),
    );
  }
  const q8 = join(onnx, 'model_quantized.onnx');
  if (existsSync(q8)) return { folder };
  try {
    const python = await pythonWith(['onnx', 'onnxruntime']);
    const script = fileURLToPath(new URL('./peers/quantize.py', import.meta.url));
    await promisify(execFile)(python, [script, exact, `${q8}.part`]);
    await rename(`${q8}.part`, q8);
    return { folder };
  } catch (error) {
    return { folder, q8Missing: String(error).split('\n').at(-2) ?? String(error) };
  }
}

async function writeWeights(checkpoint: Checkpoint, graph: Graph, path: string) {
  const places = new Map<string, ExternalData>();
  const file = await open(path, 'w');
  let offset = 0;
  for (const weight of graph.weights) {
    const data = await exportedWeight(checkpoint, weight);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    await file.write(bytes, 0, bytes.length, offset);
    places.set(weight.name, { location: 'model.onnx_data', offset, length: bytes.length });
    offset += bytes.length;
  }
  await file.close();
  return places;
}

/** What a weight of `exportGraph` holds: linears are turned, a tied head is a copy. */
export async function exportedWeight(
  { config, tensors, read }: Pick<Checkpoint, 'config' | 'tensors' | 'read'>,
  { name, shape }: Pick<Value, 'name' | 'shape'>,
): Promise<Float32Array> {
  const source = tensors.has(name) || !config.tiedHead ? name : EMBEDDING;
  const data = await read(source);
  const turned = shape.length === 2 && name !== EMBEDDING;
  return turned ? transposed(data, shape[0] as number) : data;
}

/** [rows, columns] → [columns, rows], flat. */
function transposed(data: Float32Array, columns: number): Float32Array {
  const rows = data.length / columns;
  return Float32Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!);
}

export function configJson(config: ModelConfig): string {
  return JSON.stringify({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: config.hidden,
    intermediate_size: config.ffn,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocab,
    max_position_embeddings: config.context,
    rms_norm_eps: config.normEpsilon,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tiedHead,
    bos_token_id: 1,
    eos_token_id: 2,
  });
}
