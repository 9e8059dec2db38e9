/** A small state, a master that has it, and two slaves that predict what its event does. */
import { Host } from './replication.js'

export interface State {
  n: number
  m: number
  list: string[]
  title?: string
}
export const initial = (): State => ({ n: 0, m: 0, list: [] })

/** A master with two slaves; all of them know what `add` does. */
export function world() {
  const host = new Host(initial())
  const add = (state: State, by: number): void => void (state.n += by)
  host.store.on('add', add)
  const [a, b] = [host.join(), host.join()]
  for (const guest of [a, b]) guest.on('add', add)
  return { host, a, b }
}

export const increment = (state: State): State => ({ ...state, n: state.n + 1 })
export const seqs = (payloads: readonly { seq: number; prev: number }[]): number[][] =>
  payloads.map(({ seq, prev }) => [seq, prev])
