// Fetches model files from the Hugging Face hub, or the mirror named by HF_ENDPOINT.
import { failure, reasonOf } from './failure.mjs';

const hub = () => (process.env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');

/** @returns {Record<string, string>} */
export const hubHeaders = () =>
  process.env.HF_TOKEN ? { authorization: `Bearer ${process.env.HF_TOKEN}` } : {};

/**
 * @param {string} repository `owner/name`
 * @param {string} revision branch, tag or commit
 * @param {string} file
 */
export const hubUrl = (repository, revision, file) =>
  `${hub()}/${repository}/resolve/${encodeURIComponent(revision)}/${file}`;

/**
 * @typedef {object} HubListing
 * @property {string} commit
 * @property {string} [license]
 * @property {{file: string, sizeBytes?: number, sha256?: string}[]} files
 */

/**
 * What a repository holds. Throws `model/hub`.
 * Source: https://huggingface.co/docs/hub/api#get-apimodelsrepoid
 *
 * @param {string} repository
 * @param {string} revision
 * @param {AbortSignal} [signal]
 * @returns {Promise<HubListing>}
 */
export async function listHub(repository, revision, signal) {
  const url = `${hub()}/api/models/${repository}/revision/${encodeURIComponent(revision)}?blobs=true`;
  /** @type {any} */
  let answer;
  try {
    const response = await fetch(url, {
      headers: hubHeaders(),
      signal: AbortSignal.any([AbortSignal.timeout(30_000), ...(signal ? [signal] : [])]),
    });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    answer = await response.json();
  } catch (error) {
    signal?.throwIfAborted();
    throw failure(
      'model/hub',
      `${repository} on the hub: ${reasonOf(error)}.`,
      'Check the name and the network; for a gated repository set HF_TOKEN.',
      error,
    );
  }
  return {
    commit: String(answer.sha),
    ...(answer.cardData?.license ? { license: String(answer.cardData.license) } : {}),
    files: answer.siblings.map((/** @type {any} */ sibling) => ({
      file: String(sibling.rfilename),
      sizeBytes: sibling.size,
      sha256: sibling.lfs?.sha256,
    })),
  };
}

/** What is fetched beside the weights, as far as a repository has it. */
const configFiles = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
];

/**
 * The files of a listing that make one model: the named GGUF file, else the safetensors layout, else
 * the only GGUF there is. Throws `model/hub`.
 *
 * @param {string} repository
 * @param {HubListing} listing
 * @param {string} [wanted]
 * @returns {HubListing['files']}
 */
export function modelFiles(repository, listing, wanted) {
  // Only plain names: a file lands in a cache folder under the name the hub states.
  const files = listing.files.filter(({ file }) => /^[\w][\w.-]*$/.test(file));
  const ggufs = files.filter(({ file }) => file.endsWith('.gguf'));
  const shards = files.filter(({ file }) => /^model(-\d+-of-\d+)?\.safetensors$/.test(file));
  if (wanted) {
    const found = files.find(({ file }) => file === wanted);
    if (found) return [found];
  } else if (shards.length > 0) {
    const index = files.filter(({ file }) => file === 'model.safetensors.index.json');
    return [...files.filter(({ file }) => configFiles.includes(file)), ...index, ...shards];
  } else if (ggufs.length === 1) {
    return ggufs;
  }
  const names = ggufs.map(({ file }) => file).join(', ') || 'none';
  throw failure(
    'model/hub',
    `${repository} holds no ${wanted ?? 'single model'}; its GGUF files: ${names}.`,
    `Name one file: --model hf:${repository}/FILE.gguf`,
  );
}
