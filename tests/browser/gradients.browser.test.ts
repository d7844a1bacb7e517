// The rules of differentiation on the two builds of ONNX Runtime for browsers. Differences for graphics are
// computed on the processor: they take thousands of runs, and graphics may be software here.
import { describe } from 'vitest';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { testGradients } from '../support/gradient-spec.ts';
import { hasAdapter } from '../support/graphics.ts';

const on = (engine: 'wasm' | 'webgpu') => async () => (await startBackend(engine)).runtime;

describe('on ORT WASM', () => testGradients({ start: on('wasm') }));

describe.skipIf(!(await hasAdapter()))('on ORT WebGPU', () =>
  testGradients({ start: on('webgpu'), differences: on('wasm'), bindsEmpty: false }),
);
