// Rotary positions: x · cos + turned · sin, rows `from`..`to` of x [B, H, T, D] and out. cos and sin [B or 1, 1, T, D]: `batch`
// bytes from one row of the batch to the next. Turned is x with its halves exchanged, the new first one negated.

export function rotate(
  x: usize, cos: usize, sin: usize, out: usize, H: usize, T: usize, D: usize, batch: usize,
  from: usize, to: usize,
): void {
  const half = D * 2;
  for (let row = from; row < to; row++) {
    const angle = (row / (H * T)) * batch + (row % T) * D * 4;
    const source = x + row * D * 4;
    const target = out + row * D * 4;
    let i: usize = 0;
    for (; i + 16 <= half; i += 16) {
      const low = v128.load(source + i);
      const high = v128.load(source + half + i);
      const first = f32x4.mul(low, v128.load(cos + angle + i));
      const second = f32x4.mul(high, v128.load(cos + angle + half + i));
      v128.store(target + i, f32x4.sub(first, f32x4.mul(high, v128.load(sin + angle + i))));
      v128.store(target + half + i, f32x4.add(second, f32x4.mul(low, v128.load(sin + angle + half + i))));
    }
    for (; i < half; i += 4) {
      const low = load<f32>(source + i);
      const high = load<f32>(source + half + i);
      const first = low * load<f32>(cos + angle + i);
      const second = high * load<f32>(cos + angle + half + i);
      store<f32>(target + i, first - high * load<f32>(sin + angle + i));
      store<f32>(target + half + i, second + low * load<f32>(sin + angle + half + i));
    }
  }
}
