/**
 * Slaves that die and live again on what their outbox has: a real session over links in memory, a master's real sessions,
 * and a database in memory that outlives them, holds its writes back and refuses them on command.
 */
import { EventEmitter, once } from 'node:events'
import { v7 } from 'uuid'
import { openStorage, type Storage, type Write } from '#storage'
import { linkPair } from '#src/link/memory.js'
import { parseDown, parseUp, type Down, type Up } from '#src/protocol/replication.js'
import { Outbox } from '#src/slave/outbox.js'
import { Session } from '#src/slave/session.js'
import { Handlers, madeEvent, takePayload, type AnyHandler } from '#src/store/handlers.js'
import type { Handler } from '#src/store/microstore.js'
import type { Refusal } from '#src/store/pending.js'
import { ManualClock } from 'named-master/testing'
import { sessionsOf } from './slaves.js'

const MEBIBYTE = 1024 * 1024
export const ADDRESS = { nameServer: 'http://localhost/', name: 'garage' }

/** A database that outlives whoever has it open. */
export class Disk {
  full = false
  /** Each batch that was written. */
  readonly written: (readonly Write[])[] = []
  readonly #storage: Storage
  readonly #events = new EventEmitter()
  #held = false

  private constructor(storage: Storage) {
    this.#storage = storage
  }

  static async create(): Promise<Disk> {
    return new Disk(await openStorage(false, 'outbox'))
  }

  /** What is written waits. */
  hold(): void {
    this.#held = true
  }

  release(): void {
    this.#held = false
    this.#events.emit('released')
  }

  /** Resolves when somebody wants to write. */
  async asked(): Promise<void> {
    await once(this.#events, 'asked')
  }

  /** As one process has it, until that dies: then what it wanted to write is not written any more. */
  open(): { storage: Storage; die: () => void } {
    let alive = true
    const storage: Storage = {
      table: (name) => this.#storage.table(name),
      batch: async (writes, options) => {
        this.#events.emit('asked')
        if (this.#held) await once(this.#events, 'released')
        if (!alive) return new Promise(() => undefined)
        if (this.full) throw new Error('no space left on device')
        await this.#storage.batch(writes, options)
        this.written.push(writes)
        if (!alive) return new Promise(() => undefined)
      },
      clear: (table, range) => this.#storage.clear(table, range),
      get open() {
        return alive
      },
      close: async () => void (alive = false),
    }
    return { storage, die: () => (alive = false) }
  }

  /** What is kept now. */
  async changes(): Promise<unknown[]> {
    const changes: unknown[] = []
    for await (const [, change] of this.#storage.table('changes').iterator()) changes.push(change)
    return changes
  }
}

export type MasterSide = ReturnType<typeof sessionsOf>

/** One life of a slave. */
export class Life {
  readonly refused: Refusal[] = []
  readonly sent: Up[] = []
  readonly clock: ManualClock
  readonly outbox: Outbox
  readonly handlers = new Handlers(() => undefined)
  readonly session: Session
  readonly #die: () => void
  #cut: () => void = () => undefined

  private constructor(outbox: Outbox, clock: ManualClock, die: () => void) {
    this.clock = clock
    this.#die = die
    this.outbox = outbox
    this.session = new Session({ handlers: this.handlers, clock, log: () => undefined, outbox })
    this.session.events.on('refused', (refusal) => this.refused.push(refusal))
  }

  static async begin(disk: Disk, clock = new ManualClock(), address = ADDRESS): Promise<Life> {
    const { storage, die } = disk.open()
    return new Life(await Outbox.open(storage, address, { clock, log: () => undefined }), clock, die)
  }

  get codes(): string[] {
    return this.refused.map(({ error }) => error.code)
  }

  /** Connects; resolves when the state is here. */
  async link({ sessions }: MasterSide, clock = this.clock): Promise<void> {
    const { left, right, cut } = linkPair<Up, Down>({
      left: { parse: parseUp, maxMessageBytes: 16 * MEBIBYTE },
      right: { parse: parseDown, maxMessageBytes: 512 * MEBIBYTE },
      clock,
    })
    this.#cut = cut
    left.events.on('message', (message) => {
      this.sent.push(message)
      if (message.command === 'hello') sessions.welcome(left, message.payload)
    })
    await this.session.attach(right)
  }

  cut(): void {
    this.#cut()
  }

  on<S>(event: string, handler: Handler<S, never>): void {
    this.handlers.on(event, handler as AnyHandler)
  }

  emit(event: string, payload?: unknown): void {
    this.session.replica.emit(madeEvent(event, takePayload(payload)))
    this.session.flushSoon()
  }

  mutate<S>(mutator: (state: S) => unknown): void {
    this.session.replica.mutate(mutator as (state: unknown) => unknown, v7(), 0)
    this.session.flushSoon()
  }

  /** All that was changed is in the outbox. */
  kept(): Promise<void> {
    return new Promise((resolve) => {
      this.outbox.after(resolve)
      this.session.flushSoon()
    })
  }

  /** What is on its way is lost, and what is not written never will be. */
  kill(): void {
    this.#die()
    this.#cut()
  }
}
