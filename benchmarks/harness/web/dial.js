// The operating points in order of cost, and which of them a budget allows.

/** MACs of an input in the mean, null where the file does not say. */
export function macs(point) {
  return point.mean_macs ?? point.macs ?? null;
}

/** Cheapest first; those of unknown cost last. */
export function ordered(points) {
  return [...points].sort((a, b) => (macs(a) ?? Infinity) - (macs(b) ?? Infinity) || a.name.localeCompare(b.name));
}

/** The best point within both limits (null: none); null where no point is. `times` has milliseconds by name. */
export function best(points, limits, times) {
  const within = points.filter((point) => fits(macs(point), limits.macs) && fits(times[point.name], limits.ms));
  return within.reduce((one, other) => (one === null || merit(other) > merit(one) ? other : one), null);
}

/** The marks of a cascade's dial; those of its file, or its thresholds alone. */
export function marks({ cascade }) {
  return cascade.curve.length ? cascade.curve : [{ thresholds: cascade.thresholds, reach: cascade.reach, score: null }];
}

/** The mark that a cascade's file stands on: the one whose thresholds are nearest. */
export function chosen(point) {
  const apart = marks(point).map(({ thresholds }) =>
    thresholds.reduce((sum, value, n) => sum + Math.abs(value - point.cascade.thresholds[n]), 0),
  );
  return apart.indexOf(Math.min(...apart));
}

/** MACs of an input in the mean at a mark; null where the file does not say. */
export function macsAt({ cascade }, { reach }) {
  if (!cascade.macs.length || !reach.length) return null;
  return cascade.macs.reduce((sum, macs, stage) => sum + macs * reach[stage], 0);
}

function fits(value, limit) {
  return limit === null || (value !== undefined && value !== null && value <= limit);
}

function merit(point) {
  return point.rank_score ?? point.score ?? 0;
}
