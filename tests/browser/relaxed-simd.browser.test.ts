// The kernels that this browser is given, which has relaxed SIMD.
import { relaxed } from 'virtual:kernels';
import { describeProducts } from '../support/products.ts';

describeProducts('relaxed', 8, () => WebAssembly.compileStreaming(fetch(relaxed)));
