// The typed port to the model: what the page may ask of the inference worker, in plain data.
// No component and no state class imports ONNX Runtime; they know this file.
import type {
  BaseModel,
  BlobFile,
  Golden,
  SpeakRequest,
  SpokenReply,
  SpokenToken,
} from '@rapport/core';
import type { Method, Remote } from './channel.ts';

export interface ChatTurn {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** One file by its digest; without chunk hashes the whole file is verified at its end. */
export type ModelFile = Omit<BlobFile, 'chunks'> & { chunks?: BlobFile['chunks'] | undefined };

/** What `GET /v1/model` answers: the base this server gives its clients. */
export type ModelManifest = BaseModel;

export interface FetchProgress {
  receivedBytes: number;
  totalBytes: number;
  /** Bytes that arrived in this session; those before were kept from an earlier one. */
  freshBytes: number;
  /** Set while a failed request waits for its next try. */
  waitingMs?: number;
  /** Set while another tab brings the same file. */
  elsewhere?: boolean;
}

/** Own kernels on the file's blocks, ONNX Runtime on the processor, ONNX Runtime on graphics. */
export type Engine = 'simd' | 'wasm' | 'webgpu';
export type BackendChoice = 'auto' | Engine;

/** What a short trial on this device found: the fastest engine, and the milliseconds of each that computes right. */
export interface Verdict {
  engine: Engine;
  ms: Partial<Record<Engine, number>>;
  /** Those that compute wrong here. */
  wrong: readonly Engine[];
  /** All engines had their turn before time was up. */
  whole: boolean;
  /** Of the trial itself. */
  tookMs: number;
  /** The device did little else meanwhile: rounds took about the same time. */
  calm: boolean;
}

export interface OpenRequest {
  manifest: ModelManifest;
  backend: BackendChoice;
  /** Of an earlier start on this device; without it the engines are tried. */
  verdict?: Verdict | undefined;
  /** The last start ended in the middle of loading: take the setting that needs least. */
  afterCrash?: boolean | undefined;
  /** The graphics device that computed until now is gone: the processor computes, whatever was chosen. */
  deviceLost?: boolean | undefined;
  /** Set when another tab computes from now on: what it has opened is taken as it is. */
  again?: boolean | undefined;
}

export interface OpenedModel {
  backend: string;
  /** Why this backend: a key of the catalogue, since the page says it in the person's language. */
  reason:
    | 'fastest'
    | 'computes-right'
    | 'not-compared'
    | 'isolated'
    | 'not-isolated'
    | 'chosen'
    | 'no-webgpu'
    | 'fell-back'
    | 'after-crash'
    | 'device-lost';
  verdict?: Verdict | undefined;
  threads: number;
  contextLength: number;
  loadMs: number;
}

/** An adapter of a release: one file by digest, and what its PEFT config says. */
export interface AdapterRef {
  file: ModelFile;
  rank: number;
  alpha: number;
  targets: readonly string[];
}

/** The methods of the inference worker. */
export interface InferenceService {
  /** True for a model whose files are all here already. */
  isKept: Method<ModelManifest, never, boolean>;
  /** Brings the files of the model here, verified; goes on where it stopped. */
  fetchModel: Method<ModelManifest, FetchProgress, void>;
  openModel: Method<OpenRequest, never, OpenedModel>;
  speak: Method<SpeakRequest, SpokenToken, SpokenReply[]>;
  /** Brings the file of an adapter here, verified. */
  fetchAdapter: Method<AdapterRef, FetchProgress, void>;
  /** Speaks with a kept adapter from the next reply on; null is the bare base. Nothing personal stays. */
  useAdapter: Method<AdapterRef | null, never, void>;
  /** Speaks with the release and this personal adapter together; null is the release alone. */
  usePersonal: Method<AdapterRef | null, never, void>;
  /** The largest difference of log-probabilities met; above the tolerance it throws. */
  checkGolden: Method<Golden, never, number>;
  /** Frees every kept file that is not in the list. */
  keepOnly: Method<string[], never, void>;
}

export type Inference = Remote<InferenceService>;

/**
 * What the worker tells its page unasked: other tabs can write to it; it is to be ended, and another begun that opens
 * the model in another way.
 */
export type EngineNews = { kind: 'listening' } | { kind: 'replace'; request: OpenRequest };
