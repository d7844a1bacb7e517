// The real model and the tiny ones of tests/reference, opened.
import { openGguf, type Checkpoint } from '@rapport/core';
import { openFile } from '../../apps/server/model-source/file-source.ts';
import { modelPath } from './model.ts';

let real: Promise<Checkpoint> | undefined;

/** The default model (SmolLM2-135M-Instruct), opened once per test process. */
export function realCheckpoint(): Promise<Checkpoint> {
  real ??= modelPath()
    .then(openFile)
    .then((source) => openGguf(source));
  return real;
}
