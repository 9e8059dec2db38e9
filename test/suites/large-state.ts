/** A state of many megabytes, as an application would have it, and what two ends compare instead of all of it. */
import { createHash } from 'node:crypto'

export interface LargeState {
  n: number
  readonly notes: {
    readonly id: string
    title: string
    readonly tags: readonly string[]
    readonly body: string
    readonly x: number
  }[]
  readonly byId: { readonly [id: string]: { readonly seen: number } }
}

const WORDS =
  'the garage door opens when somebody comes home and closes behind them every evening at about seven'.split(' ')

/** About so many bytes of JSON, the same each time. */
export function largeState(bytes: number): LargeState {
  let seed = 1
  const upTo = (limit: number): number => (seed = (seed * 48_271) % 0x7fffffff) % limit
  const text = (words: number): string => Array.from({ length: words }, () => WORDS[upTo(WORDS.length)]).join(' ')
  const notes = Array.from({ length: Math.ceil(bytes / 470) }, (_, i) => ({
    id: `note-${i}-${upTo(1e9).toString(36)}`,
    title: text(4),
    tags: [text(1), text(1)],
    body: `${text(60)} \u{1f600} é`,
    x: upTo(1e9) / 1e6,
  }))
  return { n: 0, notes, byId: Object.fromEntries(notes.slice(0, 5000).map(({ id }, seen) => [id, { seen }])) }
}

export const digestOf = (state: LargeState): string => createHash('sha256').update(JSON.stringify(state)).digest('hex')
