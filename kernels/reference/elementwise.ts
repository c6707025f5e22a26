/** One value in, one value out. */
import { exp } from "../elementary.ts";
import type { Machine } from "./machine.ts";

export const elementwise = ({ real, round }: Machine) => ({
  f32_fill(begin: number, end: number, x: number, value: number): void {
    real(x).fill(value, begin, end);
  },

  f32_copy(begin: number, end: number, x: number, y: number): void {
    real(y).set(real(x).subarray(begin, end), begin);
  },

  f32_add(begin: number, end: number, x: number, y: number, z: number): void {
    const X = real(x), Y = real(y), Z = real(z);
    for (let i = begin; i < end; i++) Z[i] = X[i] + Y[i];
  },

  f32_sub(begin: number, end: number, x: number, y: number, z: number): void {
    const X = real(x), Y = real(y), Z = real(z);
    for (let i = begin; i < end; i++) Z[i] = X[i] - Y[i];
  },

  f32_mul(begin: number, end: number, x: number, y: number, z: number): void {
    const X = real(x), Y = real(y), Z = real(z);
    for (let i = begin; i < end; i++) Z[i] = X[i] * Y[i];
  },

  f32_scale(begin: number, end: number, x: number, y: number, a: number): void {
    const X = real(x), Y = real(y), factor = round(a);
    for (let i = begin; i < end; i++) Y[i] = factor * X[i];
  },

  f32_axpy(begin: number, end: number, x: number, y: number, a: number): void {
    const X = real(x), Y = real(y), factor = round(a);
    for (let i = begin; i < end; i++) Y[i] = Y[i] + round(factor * X[i]);
  },

  f32_sigmoid(begin: number, end: number, x: number, y: number): void {
    const X = real(x), Y = real(y);
    for (let i = begin; i < end; i++) Y[i] = 1 / round(1 + round(exp(-X[i])));
  },

  f32_sigmoid_backward(begin: number, end: number, y: number, dy: number, dx: number): void {
    const Y = real(y), dY = real(dy), dX = real(dx);
    for (let i = begin; i < end; i++) dX[i] = round(dY[i] * Y[i]) * round(1 - Y[i]);
  },

  f32_exp(begin: number, end: number, x: number, y: number, most: number): void {
    const X = real(x), Y = real(y), limit = round(most);
    for (let i = begin; i < end; i++) Y[i] = Math.min(round(exp(X[i])), limit);
  },

  f32_exp_backward(begin: number, end: number, y: number, dy: number, dx: number, most: number): void {
    const Y = real(y), dY = real(dy), dX = real(dx), limit = round(most);
    for (let i = begin; i < end; i++) dX[i] = Y[i] < limit ? dY[i] * Y[i] : 0;
  },

  f32_leaky(begin: number, end: number, x: number, y: number, slope: number): void {
    const X = real(x), Y = real(y), factor = round(slope);
    for (let i = begin; i < end; i++) Y[i] = X[i] > 0 ? X[i] : factor * X[i];
  },

  f32_leaky_backward(begin: number, end: number, x: number, dy: number, dx: number, slope: number): void {
    const X = real(x), dY = real(dy), dX = real(dx), factor = round(slope);
    for (let i = begin; i < end; i++) dX[i] = X[i] > 0 ? dY[i] : factor * dY[i];
  },
});
