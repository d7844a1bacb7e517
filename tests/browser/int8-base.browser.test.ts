import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { testInt8 } from '../support/int8-spec.ts';
import { tinyCheckpoint } from '../support/tiny-in-browser.ts';

testInt8(
  () => tinyCheckpoint('llama-tied'),
  async () => (await startBackend('wasm')).runtime,
);
