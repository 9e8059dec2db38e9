/**
 * One item changed by returning a new state, in a state of 10, 1,000 and 100,000 items, by key and in an array: the
 * mutator copies what holds the items, which is its own time, and told apart from ours; and the bytes against 10 items.
 */
import { ends, measureSizes } from '../contenders/items.mjs'

const change = (state, key) => {
  const { items } = state
  const item = { ...items[key], count: items[key].count + 1 }
  return { ...state, items: Array.isArray(items) ? items.with(key, item) : { ...items, [key]: item } }
}

export const processes = ends(change)

export async function run(bench) {
  const aims = { time: {}, bytes: { atMost: 2 } }
  const counts = (size) => (size === 100_000 ? 1 : bench.size(50, 200))
  return measureSizes(bench, { rounds: bench.size(2, 5), counts, aims, apart: true })
}
