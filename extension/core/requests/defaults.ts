/** What requests leave unsaid: the paper's and the reference code's constants, where a request says nothing. */
export const DEFAULTS = {
  method: 'frontier',
  samples: 64,
  context: 512,
  iterations: 100,
  // The paper stops at the first rise (1). Errors rise by chance now and then: a little patience finds better iterates.
  patience: 4,
  oversampling: 10,
  powerIterations: 2,
  scales: 'sqrt-of-means',
  factors: 'nf8',
} as const;
