/**
 * One item changed in place, in a state of 10, 1,000 and 100,000 items, by key and in an array: the time of the master's
 * own `mutate`, of a slave's `emit` until it is committed, and the bytes on the wire both ways, against 10 items.
 */
import { ends, measureSizes } from '../contenders/items.mjs'

const change = (state, key) => void state.items[key].count++

export const processes = ends(change)

export async function run(bench) {
  const aims = { time: { atMost: 2 }, bytes: { atMost: 2 } }
  return measureSizes(bench, { rounds: bench.size(4, 11), counts: () => bench.size(100, 1_000), aims })
}
