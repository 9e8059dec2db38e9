/** One thing after the other, each timed. */
import { quantile } from './statistics.mjs'

/** In microseconds. */
export async function times(count, act) {
  globalThis.gc()
  const taken = []
  for (let i = 0; i < count; i++) {
    const began = performance.now()
    await act(i)
    taken.push((performance.now() - began) * 1000)
  }
  return { p50: quantile(taken, 0.5), p99: quantile(taken, 0.99) }
}
