/** Where a logarithmic axis is labelled: round numbers, more of them the shorter the axis. */
const LEADS = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]] as const;
const ENOUGH = 4;

export function logTicks(low: number, high: number): number[] {
  if (!(low > 0 && high > low)) return [];
  const first = Math.floor(Math.log10(low));
  const last = Math.floor(Math.log10(high));
  let ticks: number[] = [];
  for (const leads of LEADS) {
    ticks = [];
    for (let power = first; power <= last; power++)
      for (const lead of leads) ticks.push(Number((lead * Math.pow(10, power)).toPrecision(3)));
    ticks = ticks.filter(tick => tick >= low && tick <= high);
    if (ticks.length >= ENOUGH) break;
  }
  return ticks;
}
