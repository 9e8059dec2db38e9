/**
 * The master of a world: lives that begin with what the one before left on the disk, and end in order, by a kill, or with
 * the power.
 *
 * Promises: all but the name and the connections is what a `Master` is made of: its sessions, its journal. What a life had
 * in memory is gone with it, timers and promises included.
 */
import { lifetime, type Clock, type Lifetime } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import { Events } from '../events.js'
import type { Log } from '../log.js'
import { StoredJournal, type Durability } from '../master/journal.js'
import { Methods, type Method } from '../master/methods.js'
import { Sessions, type SlaveInfo } from '../master/sessions.js'
import type { Microstore } from '../store/microstore.js'
import { coreOf, type StoreCore } from '../store/store.js'
import type { FaultyDisk } from './faulty-disk.js'
import type { ManualClock } from './manual-clock.js'
import type { WorldLink } from './world-slave.js'

/** The time of day when a world begins, in milliseconds since 1970: always the same. */
const BEGINNING = Date.UTC(2026, 0, 1)

export interface WorldMasterOptions<S> {
  readonly store: () => Microstore<S>
  readonly disk: FaultyDisk
  readonly durability: Durability
  readonly clock: ManualClock
  readonly log: Log
}

interface Life<S> {
  readonly store: Microstore<S>
  readonly core: StoreCore
  readonly sessions: Sessions
  readonly journal: StoredJournal
  /** Ends with it. */
  readonly clock: Lifetime
  readonly links: Set<WorldLink>
  /** The version up to which all is on the disk. */
  written: number
}

export interface WorldMasterEvents {
  /** A life has begun: slaves may come. */
  up: []
}

export class WorldMaster<S = unknown> {
  readonly events = new Events<WorldMasterEvents>()
  readonly #options: WorldMasterOptions<S>
  readonly #methods = new Methods()
  #life: Life<S> | undefined
  /** Ends the life that is beginning. */
  #stillborn: (() => void) | undefined

  constructor(options: WorldMasterOptions<S>) {
    this.#options = options
  }

  /** Whether there is a life now. */
  get alive(): boolean {
    return this.#life !== undefined
  }

  /** The store of the present life: another object after each restart. @throws NamedMasterError `stopped` when there is no life */
  get store(): Microstore<S> {
    return this.#present.store
  }

  /** Those connected at present. */
  get slaves(): readonly SlaveInfo[] {
    return this.#life?.sessions.present ?? []
  }

  /** The number of the latest change. @throws NamedMasterError `stopped` */
  get version(): number {
    return this.#present.core.version
  }

  /** That of the latest change which is in the journal: only these may leave. @throws NamedMasterError `stopped` */
  get written(): number {
    return this.#present.written
  }

  /** Lets slaves call `name`, in this life and all that follow. See `Master.expose`. */
  expose(name: string, method: Method): void {
    this.#methods.expose(name, method)
  }

  /** Lets slaves use methods of an object through `slave.proxy(prefix)`. See `Master.exposeAll`. */
  exposeAll<T extends object>(prefix: string, target: T, methods: readonly (keyof T & string)[]): void {
    this.#methods.exposeAll(prefix, target, methods)
  }

  /** The process dies at once: what it had in memory is gone, what it had written stays. */
  kill(): void {
    this.#die()
    this.#options.disk.crash()
  }

  /** The machine goes dark: as `kill`, and what was not written with `sync` is gone. See FaultyDisk.powerCut. */
  powerCut(survivors: 'none' | 'some' = 'none'): void {
    this.#die()
    this.#options.disk.powerCut(survivors)
  }

  /** Ends in order, as `Master.close` does: all that can be written is. */
  async stop(): Promise<void> {
    const life = this.#life
    if (life === undefined) return
    this.#life = undefined
    const { sessions, journal, clock } = life
    const stopped = sessions
      .dismiss('stopped', 'The master has stopped; it may come back')
      .then(() => sessions.close())
      .then(() => journal.close())
    await this.#options.clock.until(stopped)
    clock.end()
    for (const link of life.links) link.cut()
  }

  /**
   * A new life, with a new store, which becomes what the journal kept. A present one is stopped before.
   * @throws NamedMasterError `storage-failed` while the disk fails; what `store` throws
   */
  async restart(): Promise<void> {
    await this.stop()
    if (this.#stillborn !== undefined) throw new TypeError('restart(): the master is being started already')
    const killed = new Promise<never>((_, reject) => {
      this.#stillborn = () => reject(new NamedMasterError('stopped', 'The master was killed before it had begun'))
    })
    try {
      this.#life = await this.#options.clock.until(Promise.race([this.#begin(), killed]))
    } finally {
      this.#stillborn = undefined
    }
    this.events.emit('up')
  }

  /** Makes a link, whose slave will say hello, with the clock of the present life; undefined when there is none. */
  connect(make: (clock: Clock) => WorldLink): WorldLink | undefined {
    const life = this.#life
    if (life === undefined) return undefined
    const link = make(life.clock)
    life.links.add(link)
    const { events } = link.right
    events.on('close', () => life.links.delete(link))
    const off = events.on('message', (message) => {
      if (message.command === 'pong') return
      off()
      if (message.command === 'hello' && life === this.#life) life.sessions.welcome(link.right, message.payload)
      else void link.right.close('invalid-message', 'The first message must be hello')
    })
    return link
  }

  get #present(): Life<S> {
    if (this.#life === undefined)
      throw new NamedMasterError('stopped', 'The master has no life at present: await world.master.restart()')
    return this.#life
  }

  async #begin(): Promise<Life<S>> {
    const { disk, durability, log } = this.#options
    const clock = lifetime(this.#options.clock)
    const store = this.#options.store()
    const core = coreOf(store)
    if (core === undefined) throw new TypeError('createWorld({ store }): a function that answers a new createStore()')
    const storage = disk.open()
    try {
      const journal = await StoredJournal.open(storage, { durability, log })
      const sessions = new Sessions({
        core,
        methods: this.#methods,
        append: async (batch) => {
          await journal.append(batch)
          life.written = batch.commits.at(-1)?.commit.version ?? life.written
        },
        // As it is: to deflate takes the time of another thread, and no clock of ours tells that.
        deflate: () => Promise.reject(new Error('Nothing is deflated in memory')),
        clock,
        date: () => BEGINNING + Math.floor(clock.now()),
        log,
      })
      sessions.restore(journal.kept)
      const life: Life<S> = { store, core, sessions, journal, clock, links: new Set(), written: core.version }
      await journal.begin(sessions.term, () => sessions.moment())
      return life
    } catch (error) {
      await storage.close()
      throw error
    }
  }

  #die(): void {
    this.#stillborn?.()
    const life = this.#life
    if (life === undefined) return
    this.#life = undefined
    life.clock.end()
    for (const link of life.links) link.cut()
  }
}
