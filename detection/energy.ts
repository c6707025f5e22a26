/**
 * Synaptic operations, and the energy they would take on 45 nm hardware in 32-bit floats (Horowitz, ISSCC 2014).
 *
 * A layer that reads spikes accumulates: an integer spike s stands for s unit spikes, so that a layer of M multiply-accumulates whose
 * input has mean s̄ costs M s̄ accumulations. A layer that reads real numbers multiplies. Memory traffic and the neurons
 * themselves are not counted, here as in the papers.
 */

export const PICOJOULE_PER_MAC = 4.6;
export const PICOJOULE_PER_ACCUMULATE = 0.9;

export interface EnergyLayer {
  readonly name: string;
  /** Multiply-accumulates of the dense layer for one picture, over all its timesteps. */
  readonly macs: number;
  /** Mean of the integer input spikes over pixels, channels and timesteps, 0..D; not divided by D, zeros count. Not used by a "mac" layer. */
  readonly rate: number;
  /** What the layer does for each non-zero input: "mac" reads real numbers (the first layer), "accumulate" reads spikes. */
  readonly kind: "mac" | "accumulate";
}

/**
 * "clean": 4.6 pJ per MAC, 0.9 pJ per accumulation.
 * "sheet": SpikeYOLO's published table, in which the first layer's 4.6 stands in the column of rates and so is multiplied
 * by 0.9 again: 4.14 pJ per MAC. Its cells are labelled mJ and hold pJ. A re-parameterised chain is in it as the one 3x3 convolution of spikes that
 * it folds into; whoever counts layers has to count it so (`profile` does).
 */
export type EnergyConvention = "clean" | "sheet";

/** The same, to be read below a table. */
export const energyConventions: Readonly<Record<EnergyConvention, string>> = {
  clean: "every layer as it runs, 4.6 pJ a MAC and 0.9 pJ an accumulation",
  sheet: "as SpikeYOLO's published sheet counts: a RepConv as the one 3x3 convolution of spikes that it folds into, 4.14 pJ a MAC of the first layer",
};

export interface LayerEnergy extends EnergyLayer {
  /** Accumulations (0 for a "mac" layer). */
  readonly synapticOperations: number;
  readonly picojoules: number;
  /** The same layer in an ordinary network of the same shape. */
  readonly densePicojoules: number;
}

export interface EnergyReport {
  readonly layers: readonly LayerEnergy[];
  readonly macs: number;
  readonly synapticOperations: number;
  readonly millijoules: number;
  readonly denseMillijoules: number;
}

/** Of a layer that reads real numbers. */
export const picojoulesPerMac = (convention: EnergyConvention): number => (convention === "sheet" ? PICOJOULE_PER_ACCUMULATE * PICOJOULE_PER_MAC : PICOJOULE_PER_MAC);

export function energy(layers: readonly EnergyLayer[], convention: EnergyConvention = "clean"): EnergyReport {
  const perMac = picojoulesPerMac(convention);
  const rows = layers.map((layer): LayerEnergy => {
    const { name, macs, rate, kind } = layer;
    if (!(macs >= 0 && Number.isFinite(macs))) throw new Error(`energy: expected a number of MACs for ${name}, got ${macs}`);
    if (kind === "accumulate" && !(rate >= 0 && Number.isFinite(rate))) throw new Error(`energy: expected a firing rate of 0 or more for ${name}, got ${rate}`);
    const synapticOperations = kind === "accumulate" ? macs * rate : 0;
    return {
      ...layer, synapticOperations,
      picojoules: kind === "accumulate" ? synapticOperations * PICOJOULE_PER_ACCUMULATE : macs * perMac,
      densePicojoules: macs * PICOJOULE_PER_MAC,
    };
  });
  const total = (value: (row: LayerEnergy) => number): number => rows.reduce((sum, row) => sum + value(row), 0);
  return {
    layers: rows,
    macs: total((row) => row.macs),
    synapticOperations: total((row) => row.synapticOperations),
    millijoules: total((row) => row.picojoules) / 1e9,
    denseMillijoules: total((row) => row.densePicojoules) / 1e9,
  };
}

/**
 * Joules as in Table 1 of SNN-YOLOv3's paper: operations of a step over operations per second and watt, taken as watts, for a millisecond a step. Both printed rows
 * follow from 400 GFLOPS/W, where its text says 300. The dimensions do not fit: operations over operations per second and watt are joules already, so that
 * `joulesAt` is the honest figure, larger by 1000.
 */
export const printedJoules = (operations: number, steps: number, gigaflopsPerWatt = 400): number => (operations / (gigaflopsPerWatt * 1e9)) * steps * 1e-3;

/** Joules of that many steps on hardware of this efficiency. */
export const joulesAt = (operations: number, steps: number, gigaflopsPerWatt = 400): number => (operations / (gigaflopsPerWatt * 1e9)) * steps;

/** Joules as in Fig. 4 there: floating-point operations, two for each multiply-accumulate, each at the energy of a whole one; and accumulations of each step. */
export const printedComparison = (flops: number, accumulations: number, steps: number): { ann: number; snn: number } =>
  ({ ann: flops * PICOJOULE_PER_MAC * 1e-12, snn: accumulations * steps * PICOJOULE_PER_ACCUMULATE * 1e-12 });
