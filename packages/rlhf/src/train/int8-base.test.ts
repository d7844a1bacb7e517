import { describe } from 'vitest';
import { testInt8 } from '../../../../tests/support/int8-spec.ts';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';

describe.each(['llama-tied', 'gpt2'] as const)('%s', (name) =>
  testInt8(() => tinyCheckpoint(name), nodeRuntime),
);
