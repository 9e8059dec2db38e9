/**
 * A slave of a world: the very store that a `Slave` is, over links in memory.
 *
 * Promises: once it has come, it comes back by itself whenever its link is lost and the master is there, until `leave`.
 */
import type { Clock } from '../clock.js'
import type { LinkPair } from '../link/memory.js'
import type { Log } from '../log.js'
import type { Down, Up } from '../protocol/replication.js'
import type { CallOptions } from '../slave/calls.js'
import { RemoteStore } from '../slave/remote-store.js'
import { Session } from '../slave/session.js'
import { Handlers } from '../store/handlers.js'

/** From a lost link to the next, in milliseconds: less than on a real path, so that little time has to pass. */
const REDIAL_MS = 30

/** The slave's end is the left one. */
export type WorldLink = LinkPair<Down, Up>

export interface WorldSlaveOptions {
  readonly clock: Clock
  readonly log: Log
  /** A new link to the master; undefined while there is none. */
  readonly dial: (session: Session) => WorldLink | undefined
  /** Calls whenever there is a master again. */
  readonly whenUp: (listener: () => void) => void
}

const sessions = new WeakMap<object, Session>()

/** What is behind a slave: for our own tests. */
export const sessionOf = (slave: object): Session => sessions.get(slave) as Session

export class WorldSlave<S = unknown> extends RemoteStore<S> {
  readonly #options: WorldSlaveOptions
  #link: WorldLink | undefined
  #away = true
  #redial: unknown
  #openCalls = 0

  constructor(options: WorldSlaveOptions) {
    const { clock, log } = options
    const handlers = new Handlers((sentence) => log('warn', sentence))
    super(new Session({ handlers, clock, log }), { log })
    this.#options = options
    sessions.set(this, this.session)
    options.whenUp(() => {
      if (!this.#away && this.#link === undefined) this.#joinSoon()
    })
  }

  /** 'connected' while what it shows is the master's state as far as its link has told; 'disconnected' while it is away. */
  get status(): 'disconnected' | 'connected' | 'reconnecting' {
    if (this.#away) return 'disconnected'
    return this.session.link?.open === true && this.session.replica.live ? 'connected' : 'reconnecting'
  }

  /** Changes that are not answered. */
  get pending(): number {
    return this.session.replica.pending
  }

  /** Calls that are not answered. */
  get openCalls(): number {
    return this.#openCalls
  }

  /** Milliseconds of the last heartbeat; undefined before the first one. */
  get roundTrip(): number | undefined {
    return this.session.link?.roundTrip
  }

  /** The link breaks, and what was on its way is lost. It comes back by itself. */
  cut(): void {
    this.#link?.cut()
  }

  /** Cut off until `comeBack`: changes wait meanwhile. */
  leave(): void {
    this.#away = true
    this.#stopWaiting()
    this.cut()
  }

  /** Joins, as soon as the master is there. Does nothing when it is not away. */
  comeBack(): void {
    if (!this.#away) return
    this.#away = false
    this.session.wake()
    this.#join()
  }

  /** Goes over to a new link while the old one is as good as ever: a laptop finds a better network. */
  move(): void {
    if (!this.#away) this.#join()
  }

  override call<T = unknown>(method: string, params?: unknown, options: CallOptions = {}): Promise<T> {
    const called = super.call<T>(method, params, options)
    this.#openCalls++
    const ended = (): void => void this.#openCalls--
    called.then(ended, ended)
    return called
  }

  #join(): void {
    this.#stopWaiting()
    const link = this.#options.dial(this.session)
    if (link === undefined) return
    this.#link = link
    link.left.events.on('close', () => {
      if (this.#link !== link) return
      this.#link = undefined
      if (!this.#away) this.#joinSoon()
    })
    this.session.attach(link.left).catch(() => {
      // It was lost before the state had come; the next one is on its way.
    })
  }

  #joinSoon(): void {
    this.#redial ??= this.#options.clock.setTimeout(() => this.#join(), REDIAL_MS)
  }

  #stopWaiting(): void {
    this.#options.clock.clearTimeout(this.#redial)
    this.#redial = undefined
  }
}
