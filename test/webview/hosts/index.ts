export * from './allocation';
export * from './checkpoint';
export * from './common';
export * from './compress';
export * from './heatmap';
export * from './results';
