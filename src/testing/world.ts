/**
 * A world: one master and some slaves, joined in memory, without a name server, a socket or a peer connection, under a
 * clock that is told how late it is.
 *
 * Promises: what happens follows from the options, the seed and what the test does; the rooms behind it are those of the
 * package. Only ids, secrets and the time stamps in messages are as ever.
 */
import { inflate } from '#deflate'
import type { Clock } from '../clock.js'
import { linkPair } from '../link/memory.js'
import { consoleLog, type Log } from '../log.js'
import type { Durability } from '../master/journal.js'
import type { Parsed } from '../protocol/envelope.js'
import { equalJson, type JsonValue } from '../protocol/json.js'
import { parseDown, parseUp, type Down, type Up } from '../protocol/replication.js'
import type { Session } from '../slave/session.js'
import type { Microstore } from '../store/microstore.js'
import { createStore } from '../store/store.js'
import { FaultyDisk, type DiskCopy, type DiskOptions } from './faulty-disk.js'
import { ManualClock } from './manual-clock.js'
import { WorldMaster } from './world-master.js'
import { sessionOf, WorldSlave, type WorldLink } from './world-slave.js'

/** Bytes of one message, either way: more than any state that a test has. */
const MAX_MESSAGE_BYTES = 512 * 1024 * 1024
/** As masters and slaves have it: milliseconds between pings, and of the silence after which an end counts as dead. */
const PING_MS = 3000
const SILENCE_MS = 10_000
/** How long a world may take to come to rest, in milliseconds of its clock: twice what a call may take. */
const REST_MS = 60_000
/** Between two looks whether it has. */
const LOOK_MS = 10

export interface WorldOptions<S = unknown> {
  /** How many, or the latency of each one in milliseconds; 1 by default. */
  readonly slaves?: number | readonly number[]
  /** Of all chances, an integer; 1 by default. */
  readonly seed?: number
  /** The state that the master begins with, or */
  readonly initialState?: S
  /** makes its store, with the handlers: for each life of the master anew. */
  readonly store?: () => Microstore<S>
  /** Milliseconds one way, for slaves that have no latency of their own; 0 by default. */
  readonly latency?: number
  /** Up to as many milliseconds more, by chance; 0 by default. */
  readonly jitter?: number
  /** Bytes per second, each way; no bound by default. */
  readonly rate?: number
  /** The chance, 0 to 1, that a link is cut instead of delivering a frame; 0 by default. */
  readonly loss?: number
  /** Bytes of the largest frame; 65,536 by default. */
  readonly maxFrameBytes?: number
  /** Whether links have heartbeats, so that there are round trips and dead ends are noticed; true by default. */
  readonly heartbeat?: boolean
  /** Of the master's journal; 'process' by default. */
  readonly durability?: Durability
  /** How slow the master's disk is, and what it holds (a copy of another's); at once, and empty, by default. */
  readonly disk?: Pick<DiskOptions, 'latency' | 'syncLatency'> & { readonly holds?: DiskCopy }
  /** False: the slaves are away at first, until each is told to `comeBack()`. True by default. */
  readonly joined?: boolean
  /** What a message becomes on its way, to break a rule and see that a test notices. `slave` is its index. */
  readonly tamper?: {
    readonly up?: (message: Up, slave: number) => Up
    readonly down?: (message: Down, slave: number) => Down
  }
  /** By default warnings and errors go to the console. */
  readonly log?: Log
}

/**
 * Makes a world; its master has begun, and all slaves have joined unless `joined` is false.
 * @throws TypeError when an option is wrong; what `store` throws
 */
export async function createWorld<S>(options: WorldOptions<S>): Promise<World<S>> {
  const world = new World<S>(options)
  await world.master.restart()
  if (options.joined ?? true) await world.settle()
  return world
}

export class World<S = unknown> implements AsyncDisposable {
  readonly seed: number
  readonly clock = new ManualClock()
  readonly disk: FaultyDisk
  readonly master: WorldMaster<S>
  readonly slaves: readonly WorldSlave<S>[]
  readonly #options: WorldOptions<S>
  readonly #log: Log
  #links = 0
  /** While the world settles no link is lost by chance. */
  #calm = false

  constructor(options: WorldOptions<S>) {
    const { seed = 1, slaves = 1, latency = 0, disk = {}, durability = 'process', log = consoleLog } = options
    this.#options = options
    this.#log = log
    this.seed = seed
    this.disk = new FaultyDisk({ ...disk, clock: this.clock, seed })
    if (disk.holds !== undefined) this.disk.putBack(disk.holds)
    this.master = new WorldMaster<S>({ store: storeOf(options), disk: this.disk, durability, clock: this.clock, log })
    const latencies = typeof slaves === 'number' ? new Array<number>(slaves).fill(latency) : slaves
    this.slaves = latencies.map((own, index) => {
      const dial = (session: Session): WorldLink | undefined => this.#connect(index, own, session)
      const whenUp = (listener: () => void): void => void this.master.events.on('up', listener)
      return new WorldSlave<S>({ clock: this.clock, log, dial, whenUp })
    })
  }

  /** Lets so many milliseconds pass. */
  advance(ms: number): Promise<void> {
    return this.clock.advance(ms)
  }

  /**
   * Lets the time pass until a promise is settled, and answers what it came to: `await world.until(slave.call('sum'))`.
   * @param within milliseconds; 60,000 by default
   * @throws what it rejects with; Error when it is not settled within that time
   */
  until<T>(work: Promise<T>, within?: number): Promise<T> {
    return this.clock.until(work, within, `What was waited for in the world of seed ${this.seed}`)
  }

  /**
   * All faults end, the master lives, everybody joins, everything is answered, and all states are equal.
   * @throws Error that says what does not come to rest within a minute of the world's time; what the master's start throws
   */
  async settle(): Promise<void> {
    this.#calm = true
    try {
      this.disk.heal()
      if (!this.master.alive) await this.master.restart()
      for (const slave of this.slaves) slave.comeBack()
      const end = this.clock.now() + REST_MS
      await this.clock.advance(0)
      while (this.#unrest().length > 0 && this.clock.now() < end) await this.clock.advance(LOOK_MS)
      const unrest = this.#unrest()
      if (unrest.length > 0)
        throw new Error(`The world of seed ${this.seed} does not come to rest: ${unrest.join('; ')}`)
    } finally {
      this.#calm = false
    }
  }

  /** Ends it all: nothing waits any more. Idempotent. */
  async close(): Promise<void> {
    for (const slave of this.slaves) {
      slave.leave()
      sessionOf(slave).rest()
    }
    await this.master.stop()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** What is not at rest; once all else is, states that differ. */
  #unrest(): string[] {
    const { version, written } = this.master
    const unrest = written < version ? [`changes of the master that are not written: ${version - written}`] : []
    this.slaves.forEach((slave, index) => {
      const { replica } = sessionOf(slave)
      const say = (what: string): void => void unrest.push(`slave ${index} ${what}`)
      if (slave.status !== 'connected') say('is not connected')
      if (slave.pending > 0) say(`has unanswered changes: ${slave.pending}`)
      if (slave.openCalls > 0) say(`has unanswered calls: ${slave.openCalls}`)
      if (replica.version !== version) say(`is at version ${replica.version} of ${version}`)
    })
    return unrest.length > 0 ? unrest : this.#differences()
  }

  #differences(): string[] {
    const state = this.master.store.getState() as JsonValue | undefined
    return this.slaves.flatMap((slave, index) =>
      equal(slave.getState() as JsonValue | undefined, state)
        ? []
        : [`slave ${index} shows another state than the master`],
    )
  }

  #connect(slave: number, latency: number, session: Session): WorldLink | undefined {
    const { jitter = 0, rate = Infinity, loss = 0, maxFrameBytes, heartbeat = true, tamper = {} } = this.#options
    const report = (error: unknown): void => this.#log('error', 'A listener of a link threw', { error })
    const common = { maxMessageBytes: MAX_MESSAGE_BYTES, inflate, report }
    const beat = { interval: PING_MS, silence: () => SILENCE_MS }
    const pong = (): { lowestCall: number } => ({ lowestCall: session.calls.lowest })
    const calm = (): boolean => this.#calm
    const seed = this.seed + this.#links++
    const make = (masterClock: Clock): WorldLink =>
      linkPair<Down, Up>({
        left: {
          ...common,
          parse: changed(parseDown, (message) => tamper.down?.(message, slave) ?? message),
          ...(heartbeat ? { heartbeat: { ...beat, pong } } : {}),
        },
        right: {
          ...common,
          parse: changed(parseUp, (message) => tamper.up?.(message, slave) ?? message),
          clock: masterClock,
          ...(heartbeat ? { heartbeat: beat } : {}),
        },
        latency,
        jitter,
        rate,
        get loss() {
          return calm() ? 0 : loss
        },
        ...(maxFrameBytes === undefined ? {} : { maxFrameBytes }),
        seed,
        clock: this.clock,
      })
    return this.master.connect(make)
  }
}

function storeOf<S>({ initialState, store }: WorldOptions<S>): () => Microstore<S> {
  if (typeof store === 'function') return store
  if (store === undefined && initialState !== undefined) return () => createStore(initialState)
  throw new TypeError('createWorld({ store }): give it a function that makes the store, or an initialState')
}

/** A parser whose messages are another's. */
const changed =
  <M>(parse: (value: unknown) => Parsed<M>, change: (message: M) => M) =>
  (value: unknown): Parsed<M> => {
    const parsed = parse(value)
    return parsed.ok ? { ok: true, value: change(parsed.value) } : parsed
  }

const equal = (one: JsonValue | undefined, other: JsonValue | undefined): boolean =>
  one === other || (one !== undefined && other !== undefined && equalJson(one, other))
