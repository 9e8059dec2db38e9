/** Medians, their spread, and the interval of a ratio. Pure. */

/** How often the rounds are drawn anew for an interval: more changes its ends by less than a digit that is shown. */
const DRAWS = 2_000
/** What the interval leaves out at either end: it holds the ratio with 95%. */
const TAIL = 0.025

/** @param part 0 to 1 */
export function quantile(values, part) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * part
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  return below + (above - below) * (at - Math.floor(at))
}

export const median = (values) => quantile(values, 0.5)

/** The median with the smallest and the largest round. */
export const spread = (values) => ({ median: median(values), least: Math.min(...values), most: Math.max(...values) })

/**
 * The ratio of two medians, with its 95% bootstrap interval: rounds are drawn with replacement, each with what both
 * measured in it, since what disturbs a machine disturbs neighbours alike. The draws are the same for the same rounds.
 */
export function ratio(ours, theirs) {
  const random = seeded(1)
  const draws = Array.from({ length: DRAWS }, () => {
    const rounds = ours.map(() => Math.floor(random() * ours.length))
    return median(rounds.map((round) => ours[round])) / median(rounds.map((round) => theirs[round]))
  })
  return { value: median(ours) / median(theirs), low: quantile(draws, TAIL), high: quantile(draws, 1 - TAIL) }
}

/** Numbers from 0 to 1 that are the same each time (mulberry32). */
export function seeded(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
