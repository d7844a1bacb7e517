import * as ort from 'onnxruntime-node';
import { ortRuntime } from '@rapport/core';
import { testGradients } from '../../../../tests/support/gradient-spec.ts';

testGradients({ start: async () => ortRuntime(ort) });
