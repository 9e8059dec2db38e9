/**
 * Keeps the books of a world whose slaves make numbered changes: what each made, what was acknowledged, refused or
 * reported as lost, what is in the master's journal and what the others were told.
 */
import { createStore } from 'named-master/store'
import { createWorld, type World, type WorldOptions } from 'named-master/testing'
import type { Commit } from '#src/protocol/replication.js'
import { sessionOf } from '#src/testing/world-slave.js'

export interface Ledger {
  /** The last number of each slave, and how many came out of their order. */
  readonly last: Record<string, number>
  readonly disorder: number
  /** How many changes there were, by a mutate that all slaves run. */
  readonly sum: number
}

interface Change {
  readonly by: string
  readonly number: number
}

/** One slave's changes, by their number from 1 on. */
interface Books {
  readonly name: string
  /** By the seq it was made with: acknowledged, given back or still under way. */
  readonly bySeq: Map<number, number>
  readonly acknowledged: Set<number>
  readonly refused: Map<number, string>
  /** Acknowledged once, and reported as lost since. */
  readonly reported: Set<number>
  /** What it was told of others' changes since its last reset, in order. */
  heard: Change[]
  made: number
}

export interface Findings {
  readonly made: number
  readonly acknowledged: number
  readonly refused: number
  /** Acknowledged, and not in the journal. */
  readonly lost: number
  /** Of these, how many its program was told of. */
  readonly reported: number
  readonly twice: number
  readonly outOfOrder: number
  /** Neither acknowledged nor refused in the end. */
  readonly unanswered: number
}

/** A store that counts. */
function ledger() {
  const store = createStore<Ledger>({ last: {}, disorder: 0, sum: 0 })
  store.on('change', ({ last, disorder, sum }, { by, number }: Change) => ({
    last: { ...last, [by]: number },
    disorder: disorder + (number > (last[by] ?? 0) ? 0 : 1),
    sum: sum + 1,
  }))
  return store
}

export class Audit {
  readonly world: World<Ledger>
  readonly #books: Books[]
  /** The commits in the journal, by version. */
  readonly #history: Commit[] = []

  private constructor(world: World<Ledger>) {
    this.world = world
    world.disk.events.on('written', ({ writes }) => {
      for (const { table, value } of writes) {
        if (table !== 'commits' || value === undefined) continue
        const { commit } = value as { commit: Commit }
        this.#history[commit.version - 1] = commit
      }
    })
    // What a life had beyond where the next one begins was taken back.
    world.master.events.on('up', () => (this.#history.length = world.master.version))
    this.#books = world.slaves.map((_, index) => this.#open(index))
  }

  static async begin(options: Omit<WorldOptions<Ledger>, 'store' | 'initialState'>): Promise<Audit> {
    return new Audit(await createWorld<Ledger>({ ...options, store: ledger }))
  }

  /** A slave makes its next change. */
  change(slave: number): void {
    const books = this.#books[slave]
    const store = this.world.slaves[slave]
    if (books === undefined || store === undefined) throw new RangeError(`There is no slave ${slave}`)
    const { replica } = sessionOf(store)
    // Before it is made: it may be answered at once.
    const number = ++books.made
    books.bySeq.set(replica.latestSeq + 1, number)
    store.emit('change', { by: books.name, number })
  }

  /** With which codes changes were refused. */
  get codes(): readonly string[] {
    return [...new Set(this.#books.flatMap(({ refused }) => [...refused.values()]))]
  }

  /** At rest. */
  findings(): Findings {
    const history = this.#history.flatMap(({ events }) => events.map(({ payload }) => payload as unknown as Change))
    const sums = { made: 0, acknowledged: 0, refused: 0, lost: 0, reported: 0, twice: 0, outOfOrder: 0, unanswered: 0 }
    const state = this.world.master.store.getState()
    sums.outOfOrder += state.disorder + (state.sum === history.length ? 0 : 1)
    for (const { name, made, acknowledged, refused, reported, bySeq, heard } of this.#books) {
      const own = history.filter(({ by }) => by === name).map(({ number }) => number)
      const there = new Set(own)
      const gone = [...acknowledged].filter((number) => !there.has(number))
      sums.made += made
      sums.acknowledged += acknowledged.size
      sums.refused += refused.size
      sums.lost += gone.length
      sums.reported += gone.filter((number) => reported.has(number)).length
      sums.twice += own.length - there.size
      sums.outOfOrder += own.filter((number, i) => i > 0 && number < (own[i - 1] ?? 0)).length
      sums.unanswered += bySeq.size
      // Told of in the order of the journal, and since the last reset without a gap.
      const others = history.filter(({ by }) => by !== name)
      const since = others.slice(others.length - heard.length)
      if (heard.some(({ by, number }, i) => since[i]?.by !== by || since[i].number !== number)) sums.outOfOrder++
    }
    return sums
  }

  #open(slave: number): Books {
    const store = this.world.slaves[slave]
    if (store === undefined) throw new RangeError(`There is no slave ${slave}`)
    const name = `s${slave}`
    const books: Books = {
      name,
      bySeq: new Map(),
      acknowledged: new Set(),
      refused: new Map(),
      reported: new Set(),
      heard: [],
      made: 0,
    }
    const numbers = new Map<number, number>()
    sessionOf(store).replica.events.on('settled', (upTo) => {
      for (const [seq, number] of books.bySeq) {
        if (seq > upTo) break
        books.acknowledged.add(number)
        numbers.set(seq, number)
        books.bySeq.delete(seq)
      }
    })
    store.events.on('refused', ({ seq, code }) => {
      const number = books.bySeq.get(seq)
      if (number !== undefined) books.refused.set(number, code)
      books.bySeq.delete(seq)
    })
    store.events.on('reset', ({ lost }) => {
      for (const seq of lost) books.reported.add(numbers.get(seq) ?? NaN)
      books.heard = []
    })
    store.on<Change>('change', (_, change, { phase }) => {
      if (phase === 'commit' && change.by !== name) books.heard.push(change)
    })
    return books
  }
}
