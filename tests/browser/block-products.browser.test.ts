// Both modules of our own kernels in a browser: a browser with relaxed SIMD is given the one, others the other.
import { plain, relaxed } from 'virtual:kernels';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { describeProducts } from '../support/products.ts';

const compiled = (url: string) => () => WebAssembly.compileStreaming(fetch(url));
const reference = async () => (await startBackend('wasm', undefined, 1)).runtime;

describeProducts('relaxed SIMD', { module: compiled(relaxed), bits: 8, reference });
describeProducts('plain SIMD', { module: compiled(plain), bits: 16, reference });
