/**
 * A disk in memory that fails on command: what a master's journal is written on in a test.
 *
 * Promises what a Level on a real disk does: a batch is there whole or not at all, and in its order; what was written with
 * `sync`, and all before it, survives a power cut. (LevelDB may lose the end of an older log file in front of that: this
 * one never does. Nor does it damage what it holds.)
 */
import type { Range, Storage, Table, Write } from '#storage'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import { Events } from '../events.js'
import { chances } from '../link/memory.js'

export interface DiskOptions {
  /** Milliseconds that a batch takes; 0 by default. */
  readonly latency?: number
  /** Milliseconds more for one that is written with `sync`; 0 by default. */
  readonly syncLatency?: number
  /** Of what a crash leaves of the batch that is being written: an integer; 1 by default. */
  readonly seed?: number
  readonly clock?: Clock
}

/** What is written at once: all of it or nothing. */
export interface DiskBatch {
  readonly writes: readonly Write[]
  readonly sync: boolean
}

export interface DiskEvents {
  /** A batch is there; whoever wrote it has not been told yet. */
  written: [batch: DiskBatch]
}

/** What a disk held when it was copied. */
export interface DiskCopy {
  readonly tables: ReadonlyMap<string, ReadonlyMap<string, string>>
}

/** JSON texts by table and key. */
type Content = Map<string, Map<string, string>>

/** A batch, with the text of each write as it was when it was given. */
interface Texts extends DiskBatch {
  readonly texts: readonly (string | undefined)[]
}

export class FaultyDisk {
  readonly events = new Events<DiskEvents>()
  /** Batches that were written, how many of them with `sync`, and how many failed. */
  batches = 0
  syncs = 0
  failures = 0
  readonly #options: DiskOptions
  readonly #clock: Clock
  readonly #chance: () => number
  #content: Content = new Map()
  /** As it would be after a power cut. */
  #durable: Content = new Map()
  /** What was written since `#durable`, in order. */
  #unsynced: Texts[] = []
  #holder: Handle | undefined
  #failing: { readonly error: unknown; left: number } | undefined

  constructor(options: DiskOptions = {}) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#chance = chances(options.seed ?? 1)
  }

  /** Opens what is there, for one process at a time. @throws NamedMasterError `storage-locked` */
  open(): Storage {
    if (this.#holder !== undefined)
      throw new NamedMasterError('storage-locked', 'The disk is open already: close() that storage, or crash() it')
    const delay = ({ sync }: DiskBatch): Promise<void> => {
      const { latency = 0, syncLatency = 0 } = this.#options
      const ms = latency + (sync ? syncLatency : 0)
      return ms === 0 ? Promise.resolve() : new Promise((resolve) => void this.#clock.setTimeout(resolve, ms))
    }
    return (this.#holder = new Handle({
      content: () => this.#content,
      delay,
      write: (batch) => this.#write(batch),
      closed: () => void (this.#holder = undefined),
    }))
  }

  /**
   * From now on writes fail and leave nothing behind; what is there can be read.
   * @param count how many writes; all of them until `heal` by default
   * @param error what they reject with; that of a full disk by default
   */
  fail(count = Infinity, error: unknown = new Error('ENOSPC: no space left on device')): void {
    this.#failing = { error, left: count }
  }

  /** Writes succeed again. */
  heal(): void {
    this.#failing = undefined
  }

  /**
   * The process that has it open dies: nothing that it asked for is answered any more. The batch that is being written is
   * there or not, by chance; those that waited behind it are not.
   */
  crash(): void {
    const underWay = this.#holder?.abandon()
    this.#holder = undefined
    if (underWay !== undefined && this.#chance() < 0.5 && !this.#fails()) this.#apply(underWay)
  }

  /**
   * The power fails: `crash`, and what was not written with `sync` is gone.
   * @param survivors 'some': what the machine had brought to the disk by itself stays, which is a number of batches, by
   * chance, from the oldest on. 'none' by default
   */
  powerCut(survivors: 'none' | 'some' = 'none'): void {
    this.crash()
    const kept = survivors === 'none' ? 0 : Math.floor(this.#chance() * (this.#unsynced.length + 1))
    this.#content = copyOf(this.#durable)
    for (const batch of this.#unsynced.splice(0).slice(0, kept)) put(this.#content, batch)
    this.#durable = copyOf(this.#content)
  }

  /** All that is there, for `putBack`: a backup. */
  copy(): DiskCopy {
    return { tables: copyOf(this.#content) }
  }

  /** What was copied takes the place of all that is there. @throws NamedMasterError `storage-locked` while it is open */
  putBack({ tables }: DiskCopy): void {
    if (this.#holder !== undefined)
      throw new NamedMasterError(
        'storage-locked',
        'The disk is open: stop or kill whoever has it, then put back the copy',
      )
    this.#content = copyOf(tables)
    this.#durable = copyOf(tables)
    this.#unsynced = []
  }

  #write(batch: Texts): void {
    if (this.#fails()) throw this.#failing?.error
    this.#apply(batch)
  }

  /** Whether the next write does: it is counted. */
  #fails(): boolean {
    if (this.#failing === undefined || this.#failing.left === 0) return false
    this.#failing.left--
    this.failures++
    return true
  }

  #apply(batch: Texts): void {
    this.batches++
    put(this.#content, batch)
    this.#unsynced.push(batch)
    if (batch.sync) {
      this.syncs++
      for (const unsynced of this.#unsynced.splice(0)) put(this.#durable, unsynced)
    }
    this.events.emit('written', { writes: batch.writes, sync: batch.sync })
  }
}

interface HandleOptions {
  readonly content: () => Content
  readonly delay: (batch: DiskBatch) => Promise<void>
  /** Throws when it fails. */
  readonly write: (batch: Texts) => void
  readonly closed: () => void
}

/** The disk as one process has it open. */
class Handle implements Storage {
  open = true
  readonly #options: HandleOptions
  #turn: Promise<unknown> = Promise.resolve()
  #underWay: Texts | undefined
  #dead = false

  constructor(options: HandleOptions) {
    this.#options = options
  }

  table(name: string): Table<unknown> {
    const entries = (): ReadonlyMap<string, string> => {
      this.#demandOpen()
      return this.#options.content().get(name) ?? new Map<string, string>()
    }
    return {
      get: async (key) => {
        const text = entries().get(key)
        return text === undefined ? undefined : (JSON.parse(text) as unknown)
      },
      put: (key, value, options) => this.batch([{ table: name, key, value }], options),
      del: (key, options) => this.batch([{ table: name, key }], options),
      async *iterator(range = {}) {
        for (const [key, text] of within(entries(), range)) yield [key, JSON.parse(text) as unknown]
      },
    }
  }

  batch(writes: readonly Write[], { sync }: { sync: boolean }): Promise<void> {
    // At once: what the caller changes later was not written.
    const texts = writes.map(({ value }) => (value === undefined ? undefined : JSON.stringify(value)))
    return this.#inTurn(() => ({ writes, texts, sync }))
  }

  clear(table: string, range: Range): Promise<void> {
    return this.#inTurn(() => {
      const entries = within(this.#options.content().get(table) ?? new Map<string, string>(), range)
      const writes = entries.map(([key]) => ({ table, key }))
      return { writes, texts: writes.map(() => undefined), sync: false }
    })
  }

  async close(): Promise<void> {
    if (!this.open) return
    this.open = false
    await this.#turn
    if (!this.#dead) this.#options.closed()
  }

  /** Ends without a word; answers the batch that is being written. */
  abandon(): Texts | undefined {
    this.#dead = true
    this.open = false
    return this.#underWay
  }

  /** One write after the other. */
  async #inTurn(made: () => Texts): Promise<void> {
    this.#demandOpen()
    const mine = this.#turn.then(async () => {
      const batch = made()
      this.#underWay = batch
      await this.#options.delay(batch)
      // The dead are told nothing.
      if (this.#dead) return new Promise<void>(() => undefined)
      this.#underWay = undefined
      this.#options.write(batch)
    })
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  #demandOpen(): void {
    if (!this.open && !this.#dead) throw new NamedMasterError('storage-failed', 'The storage is closed')
  }
}

const copyOf = (content: DiskCopy['tables']): Content =>
  new Map([...content].map(([name, table]) => [name, new Map<string, string>(table)] as const))

function put(content: Content, { writes, texts }: Texts): void {
  writes.forEach(({ table: name, key }, i) => {
    const text = texts[i]
    let table = content.get(name)
    if (table === undefined) content.set(name, (table = new Map<string, string>()))
    if (text === undefined) table.delete(key)
    else table.set(key, text)
  })
}

/** In the order of UTF-16 units, as Level has it. */
function within(table: ReadonlyMap<string, string>, range: Range): [string, string][] {
  const { gt, gte, lt, lte, reverse = false, limit = Infinity } = range
  const inside = ([key]: [string, string]): boolean =>
    (gt === undefined || key > gt) &&
    (gte === undefined || key >= gte) &&
    (lt === undefined || key < lt) &&
    (lte === undefined || key <= lte)
  const sorted = [...table].filter(inside).sort(([one], [other]) => (one < other ? -1 : 1))
  return (reverse ? sorted.reverse() : sorted).slice(0, limit)
}
