import type { Handlers } from '../../../extension/protocol/channel';
import type { HeatmapRequests, HeatmapView, HeatValue, Metric, TensorRow } from '../../../extension/protocol/panels';
import { compressedHeader, header, random, spectrum, statistics, targets, type Architecture } from '../fixtures';
import { common } from './common';

const metrics: Metric[] = [
  {
    id: 'relative-error',
    label: 'Relative error',
    unit: '',
    about: '||W − W′|| / ||W||, as stored.',
    scale: 'sequential',
    log: true,
    status: 'ready',
  },
  {
    id: 'bits',
    label: 'Bits',
    unit: 'bits per weight',
    about: 'Codes and scales over weights.',
    scale: 'sequential',
    log: false,
    status: 'ready',
  },
  {
    id: 'low-rank-gain',
    label: 'Gain of low-rank',
    unit: '',
    about: 'Share of the error that the factors take away.',
    scale: 'diverging',
    log: false,
    status: 'ready',
  },
  {
    id: 'kurtosis',
    label: 'Kurtosis',
    unit: '',
    about: 'Fourth standardised moment: 3 for a Gaussian.',
    scale: 'sequential',
    log: true,
    status: 'compute',
  },
  {
    id: 'fisher-mass',
    label: 'Fisher mass',
    unit: '',
    about: 'Sum of the Fisher information of a matrix.',
    scale: 'sequential',
    log: true,
    status: { needs: 'Compress with a calibration text first.', action: { to: 'compress', model: '/models/tiny' } },
  },
];

export function heatmapView(a: Architecture): HeatmapView {
  const all = targets(a);
  const rows = [...new Set(all.map(({ role }) => role))];
  return {
    header: header(a),
    compressed: compressedHeader(a),
    compressions: [2.75, 3.5].map(bits => ({
      path: `/models/${a.label}-lq-${bits}`,
      label: `${a.label}-lq-${bits}`,
      effectiveBits: bits,
      older: false,
    })),
    rows,
    layers: Array.from({ length: a.layers }, (_unused, layer) => layer),
    cells: all.map(target => ({
      name: target.name,
      row: rows.indexOf(target.role),
      column: target.layer,
      shape: target.shape,
    })),
    metrics,
    metric: 'relative-error',
  };
}

export function heatmapHost(view: HeatmapView): Handlers<HeatmapRequests> {
  const values = (metric: string, factor: number): HeatValue[] =>
    view.cells.map((cell, index) => {
      if (index === 5) return 'nan';
      if (index === 9) return null;
      const depth = cell.column / view.layers.length;
      const value =
        factor *
        (0.05 + 0.1 * Math.abs(Math.sin(cell.row * 1.7)) + 0.12 * Math.exp(-depth * 6)) *
        (0.8 + 0.4 * random(cell.name + metric)());
      return metric === 'low-rank-gain' ? value - 0.09 : value;
    });
  return {
    ...common,
    load: () => view,
    choose: ({ compressed }) => ({ ...view, compressed: { ...view.compressed!, path: compressed } }),
    matrix: ({ tensor }) => ({
      tensor,
      given: {
        option: 'Trellis 2.5 bits',
        bits: 2.5,
        effectiveBits: 2.51,
        bytes: 20_560,
        sizeShare: 0.031,
        costShare: 0.044,
        error: 0.12,
        above: 9,
        of: view.cells.length,
      },
    }),
    statistics: ({ tensor }) => statistics(rowOf(view, tensor)),
    spectrum: ({ tensor, count }) => spectrum(rowOf(view, tensor), count),
    values: ({ metric }) => ({ metric, original: values(metric, 0.4), compressed: values(metric, 1) }),
    external: ({ file = '/data/loss.json' }) => ({
      file,
      metric: { ...metrics[0]!, id: `external:${file}`, label: 'loss.json', scale: 'sequential' },
    }),
  };
}

function rowOf(view: HeatmapView, tensor: string): TensorRow {
  const { shape } = view.cells.find(({ name }) => name === tensor)!;
  const parameters = shape.reduce((product, size) => product * size, 1);
  return {
    ...{ name: tensor, shape, dtype: 'BF16', format: 'dense', role: 'q', layer: 0 },
    ...{ parameters, bytes: 2 * parameters, bitsPerWeight: 16, file: 0 },
  };
}
