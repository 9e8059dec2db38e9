/**
 * What a database is to the rooms that keep something: tables of JSON values under text keys, and batches that are
 * written whole or not at all. "#storage" opens one: a Level on the disk (storage.node.ts), or in IndexedDB
 * (storage.browser.ts).
 *
 * Promises: a batch that failed leaves nothing behind, and the next may succeed.
 */
import type { Level } from 'level'
import { NamedMasterError } from '../errors.js'

/** Whose database it is: none is opened as another's. */
export type StorageKind = 'name-server' | 'master' | 'outbox'

/** The format of what the rooms write; a newer one is refused. Raise it with a migration. */
export const STORAGE_FORMAT = 1

/** A part of a table: keys in the order of their UTF-16 units. */
export interface Range {
  readonly gt?: string
  readonly gte?: string
  readonly lt?: string
  readonly lte?: string
  readonly reverse?: boolean
  readonly limit?: number
}

export interface Table<Value> {
  get(key: string): Promise<Value | undefined>
  put(key: string, value: Value, options: { sync: boolean }): Promise<void>
  del(key: string, options: { sync: boolean }): Promise<void>
  iterator(range?: Range): AsyncIterable<[string, Value]>
}

/** One entry of a batch: put there, or deleted where the value is undefined. */
export interface Write {
  readonly table: string
  readonly key: string
  readonly value?: unknown
}

export interface Storage {
  table(name: string): Table<unknown>
  /** All of it or nothing. `sync`: resolves when it is on the disk itself, and survives a power cut. */
  batch(writes: readonly Write[], options: { sync: boolean }): Promise<void>
  /** Deletes a part of a table; what it has deleted when it fails stays so. */
  clear(table: string, range: Range): Promise<void>
  readonly open: boolean
  /** Idempotent. */
  close(): Promise<void>
}

type Sublevel = ReturnType<typeof sublevelOf>
const sublevelOf = (level: Level, name: string) => level.sublevel(name)

/** How values are texts. */
export interface Codec {
  encode(value: unknown): string
  /** @throws storage-damaged */
  decode(text: string): unknown
}

const plainJson: Codec = { encode: JSON.stringify, decode: JSON.parse }

/** A Level that is open. */
export class LevelStorage implements Storage {
  readonly #level: Level
  readonly #released: () => void
  readonly #codec: Codec
  readonly #tables = new Map<string, Sublevel>()
  /** After a write that failed LevelDB's log may end in half a record, and what is appended to that is not read again. */
  #broken = false
  #turn: Promise<unknown> = Promise.resolve()
  #closed = false

  /** @param options.released runs when it was closed: a lock is let go then */
  constructor(level: Level, options: { codec?: Codec; released?: () => void } = {}) {
    this.#level = level
    this.#codec = options.codec ?? plainJson
    this.#released = options.released ?? (() => undefined)
  }

  table(name: string): Table<unknown> {
    const codec = this.#codec
    const sublevel = (): Sublevel => this.#sublevel(name)
    return {
      get: async (key) => {
        const text = await sublevel().get(key)
        return text === undefined ? undefined : codec.decode(text)
      },
      put: (key, value, options) => this.batch([{ table: name, key, value }], options),
      del: (key, options) => this.batch([{ table: name, key }], options),
      async *iterator(range = {}) {
        for await (const [key, text] of sublevel().iterator(range)) yield [key, codec.decode(text)]
      },
    }
  }

  batch(writes: readonly Write[], options: { sync: boolean }): Promise<void> {
    return this.#inTurn(() => this.#batch(writes, options))
  }

  async #batch(writes: readonly Write[], { sync }: { sync: boolean }): Promise<void> {
    const operations = writes.map(({ table, key, value }) => {
      const sublevel = this.#sublevel(table)
      return value === undefined
        ? ({ type: 'del', key, sublevel } as const)
        : ({ type: 'put', key, value: this.#codec.encode(value), sublevel } as const)
    })
    await this.#level.batch(operations, { sync } as object)
  }

  clear(table: string, range: Range): Promise<void> {
    return this.#inTurn(() => this.#sublevel(table).clear(range))
  }

  get open(): boolean {
    return this.#level.status === 'open'
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#turn
    await this.#level.close()
    this.#released()
  }

  /** One write after the other: none is appended to what is broken. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const mine = this.#turn.then(async () => {
      if (this.#broken) await this.#reopen()
      try {
        await work()
      } catch (error) {
        this.#broken = true
        throw error
      }
    })
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  /** Reading its log anew makes it whole, and begins another. */
  async #reopen(): Promise<void> {
    if (this.#closed) throw new Error('The database is closed')
    this.#tables.clear()
    await this.#level.close()
    await this.#level.open()
    this.#broken = false
  }

  #sublevel(name: string): Sublevel {
    const known = this.#tables.get(name)
    if (known !== undefined) return known
    const made = sublevelOf(this.#level, name)
    this.#tables.set(name, made)
    return made
  }
}

/**
 * What a database says of itself before it is opened.
 * @param text undefined where it says nothing
 * @throws storage-foreign, storage-newer, storage-damaged
 */
export function readFormat(text: string | undefined, kind: StorageKind, place: string): void {
  if (text === undefined) {
    const sentence = `The database in ${place} is none of named-master: name another folder`
    throw new NamedMasterError('storage-foreign', sentence)
  }
  const { kind: found, format } = parseFormat(text, place)
  if (found !== kind) {
    const sentence = `The database in ${place} belongs to a ${found}, and this is a ${kind}: name another folder`
    throw new NamedMasterError('storage-foreign', sentence)
  }
  if (format > STORAGE_FORMAT) {
    const sentence = `The database in ${place} has format ${format}, and this version knows ${STORAGE_FORMAT}: use the newer version again`
    throw new NamedMasterError('storage-newer', sentence)
  }
}

function parseFormat(text: string, place: string): { kind: string; format: number } {
  try {
    const { kind, format } = JSON.parse(text) as { kind?: unknown; format?: unknown }
    if (typeof kind === 'string' && Number.isInteger(format)) return { kind, format: format as number }
  } catch {
    // As any other text that is no format.
  }
  const sentence = `What format the database in ${place} has cannot be read: put a backup in its place, or name another folder`
  throw new NamedMasterError('storage-damaged', sentence)
}
