/**
 * What the programs of a world do: its state, its handlers, and changes whose effects can be added up. A change counts
 * one under its key when it is committed, and nothing when it is refused.
 */
import type { AnyHandler } from '#src/store/handlers.js'

export interface State {
  /** Counters: the sums that are checked. */
  count: Record<string, number>
  /** More keys than are copied on change. */
  wide: Record<string, number>
  /** More elements than are copied on change. */
  long: number[]
  /** Each change that adds here brings a token of its own. */
  list: string[]
  front: string[]
  /** Filled by the master; each is served once. */
  queue: string[]
  served: string[]
  /** Money moves, and neither grows nor shrinks. */
  accounts: number[]
  /** Taken one by one, never below nothing. */
  stock: number
}

export const STOCK = 5

export const initialState = (slaves: number): State => ({
  count: Object.fromEntries([
    ...['n', 'blind', 'guess', 'tries', 'picky', 'taken', 'chain', 'below'].map((key) => [key, 0] as const),
    ...Array.from({ length: slaves }, (_, i) => [`own-s${i}`, 0] as const),
  ]),
  wide: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, 0])),
  long: Array.from({ length: 300 }, () => 0),
  list: [],
  front: [],
  queue: [],
  served: [],
  accounts: [100, 100, 100],
  stock: STOCK,
})

export const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0)

/** All that is counted in a state, by key. */
export const counted = (state: State): Record<string, number> => ({
  ...state.count,
  wide: sum(Object.values(state.wide)),
  long: sum(state.long),
  list: state.list.length,
  front: state.front.length,
})

/** A change: what it counts under (nothing: checked by what is conserved), and how it is made. */
export type Deed = { readonly counts?: string } & (
  | { readonly emit: string; readonly payload: Readonly<Record<string, string>> }
  | { readonly mutate: (state: State) => State | void }
)

const plus = (state: State, key: string, by = 1): void => void (state.count[key] = (state.count[key] ?? NaN) + by)

const numberOf = (token: string): number => Number(/\d+$/.exec(token)?.[0])

/** `by` is who does it, `token` is told once in a world and ends in a number. */
export const deeds = {
  own: (by, token) => ({ counts: `own-${by}`, emit: 'own', payload: { by, token } }),
  ownMutate: (by) => ({ counts: `own-${by}`, mutate: (state) => plus(state, `own-${by}`) }),
  bump: (by, token) => ({ counts: 'n', emit: 'bump', payload: { by, token } }),
  n: () => ({ counts: 'n', mutate: (s) => ({ ...s, count: { ...s.count, n: (s.count['n'] ?? NaN) + 1 } }) }),
  append: (by, token) => ({ counts: 'list', emit: 'append', payload: { by, token } }),
  push: (_, token) => ({ counts: 'list', mutate: (state) => void state.list.push(token) }),
  unshift: (_, token) => ({ counts: 'front', mutate: (state) => void state.front.unshift(token) }),
  wide: (_, token) => ({
    counts: 'wide',
    mutate: (state) =>
      void (state.wide[`k${numberOf(token) % 3}`] = (state.wide[`k${numberOf(token) % 3}`] ?? NaN) + 1),
  }),
  long: (_, token) => ({
    counts: 'long',
    mutate: ({ long }) => {
      const at = long.length - 1 - (numberOf(token) % 3)
      long[at] = (long[at] ?? NaN) + 1
    },
  }),
  grow: () => ({ counts: 'long', mutate: (state) => void state.long.push(1) }),
  insert: () => ({ mutate: (state) => void state.long.splice(150, 0, 0) }),
  serve: () => ({
    mutate: (state) => {
      const next = state.queue.shift()
      if (next !== undefined) state.served.push(next)
    },
  }),
  transfer: (_, token) => ({
    mutate: ({ accounts }) => {
      const from = numberOf(token) % 3
      const to = (from + 1) % 3
      accounts[from] = (accounts[from] ?? NaN) - 1
      accounts[to] = (accounts[to] ?? NaN) + 1
    },
  }),
  /** Refused where nothing is left: whether it is depends on all others. */
  take: (by, token) => ({ counts: 'taken', emit: 'take', payload: { by, token } }),
  /** Its prediction is wrong. */
  guess: (by, token) => ({ counts: 'guess', emit: 'guess', payload: { by, token } }),
  onGuess: () => ({ counts: 'guess', mutate: (state) => plus(state, 'guess') }),
  /** Refused always, after a prediction. */
  refuse: (by, token) => ({ counts: 'tries', emit: 'refuse', payload: { by, token } }),
  onRefused: () => ({ counts: 'tries', mutate: (state) => plus(state, 'tries') }),
  /** Predicted by nobody. */
  blind: (by, token) => ({ counts: 'blind', emit: 'blind', payload: { by, token } }),
  onBlind: () => ({ counts: 'blind', mutate: (state) => plus(state, 'blind') }),
  /** Emits two more inside, and these count as well. */
  chain: (by, token) => ({ counts: 'chain', emit: 'chain', payload: { by, token } }),
  /** May throw when it is made, or when it is run again. */
  picky: () => ({
    counts: 'picky',
    mutate: (state) => {
      if ((state.count['n'] ?? NaN) % 3 === 2) throw new Error('not now')
      plus(state, 'picky')
    },
  }),
} satisfies Record<string, (by: string, token: string) => Deed>

export type DeedName = keyof typeof deeds
export const deedNames = Object.keys(deeds) as DeedName[]

interface Told {
  readonly by: string
  readonly token: string
}

/** Subscribes what both ends do, each in its own way. */
export function subscribe(
  on: (event: string, handler: AnyHandler) => unknown,
  emit: (event: string, payload: unknown) => void,
  end: 'master' | 'slave',
): void {
  const handle = (event: string, handler: (state: State, told: Told) => State | void): void => {
    on(event, (state, payload, { phase }) => {
      // At a slave another's event is done already: here a program would show it, not do it again.
      if (end === 'master' || phase !== 'commit') return handler(state as State, payload as Told)
    })
  }
  handle('own', (state, { by }) => plus(state, `own-${by}`))
  handle('bump', (state) => ({ ...state, count: { ...state.count, n: (state.count['n'] ?? NaN) + 1 } }))
  handle('append', (state, { token }) => void state.list.push(token))
  handle('take', (state) => {
    if (state.stock === 0) throw new Error('nothing left')
    state.stock--
    plus(state, 'taken')
  })
  handle('guess', (state) => plus(state, 'guess', end === 'master' ? 1 : 5))
  handle('refuse', (state) => {
    plus(state, 'tries')
    if (end === 'master') throw new Error('never')
  })
  if (end === 'master') handle('blind', (state) => plus(state, 'blind'))
  handle('chain', (state, told) => {
    plus(state, 'chain')
    emit('link', told)
    emit('link', told)
  })
  handle('link', (state) => plus(state, 'below'))
  handle('wave', (state) => plus(state, 'n', 1000))
}
