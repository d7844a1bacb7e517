// Tensors that a graphics device reads where they lie: each array has a twin there, to which only what is written to
// the array goes over. Keys and values of a conversation would else be sent whole for every token.
import { zeros, type Tensor, type TensorData, type TensorMemory } from '@rapport/core';

/** What is asked of a `GPUDevice`. */
export interface GraphicsDevice {
  createBuffer(options: { size: number; usage: number }): GraphicsBuffer;
  readonly queue: {
    writeBuffer(
      buffer: GraphicsBuffer,
      offsetBytes: number,
      data: ArrayBufferLike,
      fromBytes: number,
      sizeBytes: number,
    ): void;
  };
  pushErrorScope(filter: 'out-of-memory'): void;
  popErrorScope(): Promise<{ message: string } | null>;
}

export interface GraphicsBuffer {
  destroy(): void;
}

/** GPUBufferUsage: read by kernels, copied from and to. */
const USAGE = 0x80 | 0x04 | 0x08;
/** Kernels bind whole vectors. */
const VECTOR_BYTES = 16;

interface Twin {
  readonly device: GraphicsDevice;
  readonly buffer: GraphicsBuffer;
}

export class GraphicsMemory implements TensorMemory {
  readonly dtype = 'float32';
  readonly #device: () => GraphicsDevice | undefined;
  readonly #twins = new Map<ArrayBufferLike, Twin>();
  #lack: Promise<{ message: string } | null> = Promise.resolve(null);

  /** `device`: the one in use, undefined before a graph is loaded on it: what is allocated then has no twin. */
  constructor(device: () => GraphicsDevice | undefined) {
    this.#device = device;
  }

  allocate(shape: readonly number[]): Tensor<'float32'> {
    const tensor = zeros(shape);
    const { buffer, byteLength } = tensor.data;
    const device = this.#device();
    if (!device || byteLength === 0) return tensor;
    device.pushErrorScope('out-of-memory');
    const size = Math.ceil(byteLength / VECTOR_BYTES) * VECTOR_BYTES;
    this.#twins.set(buffer, { device, buffer: device.createBuffer({ size, usage: USAGE }) });
    const lack = device.popErrorScope();
    this.#lack = this.#lack.then(async (before) => before ?? (await lack));
    return tensor;
  }

  free({ data: { buffer } }: Tensor<'float32'>): void {
    this.#twins.get(buffer)?.buffer.destroy();
    this.#twins.delete(buffer);
  }

  wrote({ data }: Tensor<'float32'>, from: number, to: number): void {
    const twin = this.#twins.get(data.buffer);
    if (!twin || to <= from) return;
    const [at, size] = [from * data.BYTES_PER_ELEMENT, (to - from) * data.BYTES_PER_ELEMENT];
    twin.device.queue.writeBuffer(twin.buffer, at, data.buffer, data.byteOffset + at, size);
  }

  /** Where the device reads an array that was allocated here, or its beginning. */
  twinOf({ buffer, byteOffset }: TensorData): GraphicsBuffer | undefined {
    return byteOffset === 0 ? this.#twins.get(buffer)?.buffer : undefined;
  }

  /** Why a twin had no room on the device, once; null when all had. */
  async lack(): Promise<{ message: string } | null> {
    const lack = await this.#lack;
    this.#lack = Promise.resolve(null);
    return lack;
  }
}
