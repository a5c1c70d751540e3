"use strict";
/* The decoder of this page: the steps of pbt_disent.models.decoder_program, for one code at a time. */
class Decoder {
  constructor(program) {
    const text = atob(program.weights), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    const view = new DataView(bytes.buffer);
    this.weights = new Float32Array(bytes.length / (program.half ? 2 : 4));
    for (let i = 0; i < this.weights.length; i++)
      this.weights[i] = program.half ? Decoder.half(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true);
    this.steps = program.steps;
  }

  static half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, part = bits & 1023;
    return sign * (exponent === 0 ? part * 2 ** -24 : (1 + part / 1024) * 2 ** (exponent - 15));
  }

  /* Returns channels x height x width numbers in 0 to 1. */
  decode(code) {
    const values = [Float32Array.from(code)];
    for (const step of this.steps) values.push(Decoder.operations[step.do](step, step.of.map(i => values[i]), this.weights));
    return values[values.length - 1];
  }
}

Decoder.operations = {
  same: (_, [x]) => x,
  /* The first values are rounded to a class, each of which has a unit. */
  classes: ({ sizes }, [x]) => {
    const units = sizes.flatMap((size, i) => {
      const chosen = Math.min(Math.max(Math.round(x[i]), 0), size - 1);
      return Array.from({ length: size }, (_, k) => (k === chosen ? 1 : 0));
    });
    return Float32Array.from([...units, ...x.subarray(sizes.length)]);
  },
  slice: (step, [x]) => x.subarray(step.start, step.stop),
  relu: (_, [x]) => x.map(v => (v > 0 ? v : 0)),
  leaky: (step, [x]) => x.map(v => (v > 0 ? v : step.slope * v)),
  elu: (_, [x]) => x.map(v => (v > 0 ? v : Math.expm1(v))),
  sigmoid: (_, [x]) => x.map(v => 1 / (1 + Math.exp(-v))),
  scale: (step, [x]) => x.map(v => v * step.by),
  affine: (step, [x], w) => x.map((v, i) => {
    const channel = Math.floor(i / step.each);
    return v * w[step.factor + channel] + w[step.term + channel];
  }),
  join: (_, parts) => {
    const all = new Float32Array(parts.reduce((size, part) => size + part.length, 0));
    let place = 0;
    for (const part of parts) { all.set(part, place); place += part.length; }
    return all;
  },
  linear: ({ rows, columns, weight, bias }, [x], w) => {
    const y = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      let sum = bias === null ? 0 : w[bias + row];
      for (let column = 0, at = weight + row * columns; column < columns; column++, at++) sum += w[at] * x[column];
      y[row] = sum;
    }
    return y;
  },
  /* Transposed convolution: every pixel adds its kernel, times its value, to the larger map. */
  transposed: ({ channels, height, width, out, kernel, stride, padding, weight, bias }, [x], w) => {
    const tall = (height - 1) * stride - 2 * padding + kernel, wide = (width - 1) * stride - 2 * padding + kernel;
    const y = new Float32Array(out * tall * wide);
    if (bias !== null) for (let o = 0; o < out; o++) y.fill(w[bias + o], o * tall * wide, (o + 1) * tall * wide);
    for (let c = 0; c < channels; c++) for (let row = 0; row < height; row++) for (let column = 0; column < width; column++) {
      const value = x[(c * height + row) * width + column];
      if (value === 0) continue;
      const top = row * stride - padding, left = column * stride - padding;
      const first = Math.max(0, -left), last = Math.min(kernel, wide - left);
      for (let o = 0; o < out; o++) for (let k = Math.max(0, -top); k < Math.min(kernel, tall - top); k++) {
        const from = weight + ((c * out + o) * kernel + k) * kernel, to = (o * tall + top + k) * wide + left;
        for (let l = first; l < last; l++) y[to + l] += value * w[from + l];
      }
    }
    return y;
  },
};
