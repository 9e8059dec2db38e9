/**
 * A world: one master and some slaves joined by links in memory, without a name server, under a clock that is told how
 * late it is. All faults are made here, and all that happens is written down, so that `faults()` can say what is wrong.
 */
import { isDeepStrictEqual } from 'node:util'
import { deflateRawSync } from 'node:zlib'
import { inflate } from '#deflate'
import { linkPair, type LinkPair } from '#src/link/memory.js'
import type { Parsed } from '#src/protocol/envelope.js'
import type { JournalBatch } from '#src/master/journal.js'
import { Methods } from '#src/master/methods.js'
import { Sessions } from '#src/master/sessions.js'
import { parseDown, parseUp, type Commit, type Down, type Up } from '#src/protocol/replication.js'
import { coreOf, createStore, type StoreCore } from '#src/store/store.js'
import { ManualClock } from 'named-master/testing'
import {
  counted,
  deeds,
  initialState,
  STOCK,
  subscribe,
  sum,
  type Deed,
  type DeedName,
  type State,
} from './world-program.js'
import { SlaveSide } from './world-slave.js'

export interface WorldOptions {
  /** Of all chances on the way. */
  readonly seed: number
  /** Milliseconds one way, for each slave: there are as many as numbers. */
  readonly latencies: readonly number[]
  readonly jitter?: number
  /** The chance that a frame is a cut. */
  readonly loss?: number
  /** Bytes per second. */
  readonly rate?: number
  /** Bytes of the largest frame: a small one leaves a snapshot in pieces. */
  readonly frame?: number
  /** Milliseconds that the journal takes for a batch. */
  readonly disk?: number
  readonly heartbeat?: boolean
  /** Listeners answer changes and refusals with changes of their own. */
  readonly eager?: boolean
  /** What a message becomes on its way, to break a rule and see that it is missed. */
  readonly up?: (message: Up, world: World) => Up
  readonly down?: (message: Down, world: World) => Down
}

export type WorldPair = LinkPair<Down, Up>

const MIB = 1024 * 1024
/** More than anything waits for: calls 30 s, a welcome 20 s. */
const REST_MS = 60_000

export class World {
  readonly clock = new ManualClock()
  readonly options: WorldOptions
  readonly store
  readonly core: StoreCore
  readonly slaves: readonly SlaveSide[]
  /** All that was written, in the order it was. */
  readonly commits: Commit[] = []
  /** What a room found wrong by itself. */
  readonly errors: string[] = []
  /** How often each call ran. */
  readonly runs = new Map<string, number>()
  readonly enqueued: string[] = []
  sessions: Sessions
  /** The master's own changes, by what they count under. */
  readonly #done: Record<string, number> = {}
  #tokens = 0
  #pairs = 0
  #reactedTo = 0
  #flooded = false
  #calm = false
  #closed = false
  #diskFailsUntil = 0

  constructor(options: WorldOptions) {
    this.options = options
    this.store = createStore(initialState(options.latencies.length), {
      report: (error) => this.errors.push(String(error)),
    })
    this.core = coreOf(this.store) as StoreCore
    subscribe((event, handler) => this.store.on(event, handler as never), (event, payload) => this.store.emit(event, payload), 'master') // prettier-ignore
    this.sessions = this.#newSessions()
    if (options.eager === true) this.store.subscribe(() => this.#react())
    this.slaves = options.latencies.map((latency, i) => new SlaveSide(this, `s${i}`, latency))
    for (const slave of this.slaves) slave.join()
  }

  token(): string {
    return `t${this.#tokens++}`
  }

  /** A connection to the master, whose end there waits for a hello. `says` is what each message up becomes. */
  connect(latency: number, says: (message: Up) => Up, pong: () => { lowestCall: number }): WorldPair {
    const { clock, options } = this
    const { jitter = 0, loss = 0, rate = Infinity, frame = 65_536, heartbeat = false, seed } = options
    const beat = (more: { pong?: typeof pong } = {}) =>
      heartbeat ? { heartbeat: { interval: 3000, silence: () => 10_000, ...more } } : {}
    const report = (error: unknown): void => void this.errors.push(String(error))
    const common = { maxMessageBytes: 64 * MIB, inflate, clock, report }
    const pair = linkPair<Down, Up>({
      left: { parse: changed(parseDown, (message) => options.down?.(message, this) ?? message), ...common, ...beat({ pong }) },
      right: { parse: changed(parseUp, (message) => options.up?.(says(message), this) ?? says(message)), ...common, ...beat() },
      latency, jitter, rate, clock,
      maxFrameBytes: frame,
      loss: this.#calm ? 0 : loss,
      seed: seed + this.#pairs++,
    }) // prettier-ignore
    const off = pair.right.events.on('message', (message) => {
      if (message.command === 'pong') return
      off()
      if (this.#closed) pair.cut()
      else if (message.command === 'hello') this.sessions.welcome(pair.right, message.payload)
      else this.errors.push(`${message.command} came before hello`)
    })
    return pair
  }

  /** The master's own program does something. */
  act(name: DeedName): void {
    const deed: Deed = deeds[name]('master', this.token())
    if (deed.counts?.startsWith('own') === true) return
    try {
      if ('emit' in deed) this.store.emit(deed.emit, deed.payload)
      else this.store.mutate(deed.mutate)
      if (deed.counts !== undefined) this.#done[deed.counts] = (this.#done[deed.counts] ?? 0) + 1
    } catch {
      // Refused, so it does not count.
    }
  }

  /** More at once than a link has room for; once, since it takes long. */
  flood(): void {
    if (this.#flooded) return
    this.#flooded = true
    const text = 'x'.repeat(60_000)
    for (let n = 0; n < 24; n++) {
      try {
        this.store.emit('news', { token: this.token(), text })
      } catch {
        return
      }
    }
  }

  /** The program answers every fifth step of the counter that all use. */
  #react(): void {
    const { n = NaN } = this.store.getState().count
    if (n % 5 !== 0 || n === this.#reactedTo) return
    this.#reactedTo = n
    this.act('onBlind')
    this.act('bump')
  }

  enqueue(): void {
    const token = this.token()
    try {
      this.store.mutate((state) => void state.queue.push(token))
      this.enqueued.push(token)
    } catch {
      // The journal cannot be written: it was refused.
    }
  }

  failDisk(ms: number): void {
    this.#diskFailsUntil = this.clock.now() + ms
  }

  /** A master's new life with the same state, which knows none of its clients. */
  async restart(): Promise<void> {
    this.#diskFailsUntil = 0
    // What cannot be written is given up by a master that closes; here its state goes on.
    await this.rest(() => this.commits.length === this.core.version)
    this.#closed = true
    void this.sessions.dismiss('stopped', 'The master restarts')
    void this.sessions.close().then(() => {
      this.sessions = this.#newSessions()
      this.#closed = false
    })
    await this.rest(() => !this.#closed)
  }

  /** Lets all faults end, everybody join, and everything be answered. */
  async quiesce(): Promise<void> {
    this.#calm = true
    this.#diskFailsUntil = 0
    for (const slave of this.slaves) slave.comeBack((this.options.loss ?? 0) > 0)
    await this.rest(() => this.rests)
    await this.rest(() => this.rests && this.slaves.every((slave) => slave.openPromises === 0))
    await this.clock.advance(0)
  }

  /** Lets the time pass until something is so, or longer than anything may take. */
  async rest(until: () => boolean): Promise<void> {
    const end = this.clock.now() + REST_MS
    await this.clock.advance(0)
    while (!until() && this.clock.now() < end) await this.clock.advance(10)
  }

  get rests(): boolean {
    if (this.sessions.present.length < this.slaves.length || this.commits.length < this.core.version) return false
    return this.slaves.every((slave) => slave.rests)
  }

  /** What is wrong, at rest. */
  faults(): string[] {
    const state = this.store.getState()
    const faults = [...this.errors, ...this.#sums(state), ...this.#conserved(state)]
    this.commits.forEach(({ version }, i) => version === i + 1 || faults.push(`version ${version} is the ${i + 1}th`))
    for (const [call, runs] of this.runs) if (runs > 1) faults.push(`call ${call} ran ${runs} times`)
    for (const slave of this.slaves) {
      if (!isDeepStrictEqual(slave.state, state)) faults.push(`${slave.name} shows another state than the master`)
      faults.push(...slave.faults())
    }
    return faults
  }

  /** Ends it all. */
  async end(): Promise<void> {
    for (const slave of this.slaves) slave.leave()
    void this.sessions.dismiss('closed', 'The world ends')
    void this.sessions.close()
    await this.clock.advance(REST_MS)
  }

  #sums(state: State): string[] {
    const faults: string[] = []
    const is = counted(state)
    for (const [key, value] of Object.entries(is)) {
      const changes = this.slaves.flatMap(({ changes }) => changes).filter(({ counts }) => counts === key)
      const own = (key === 'below' ? 2 * (this.#done['chain'] ?? 0) : this.#done[key]) ?? 0
      const least = changes.filter(({ outcome }) => outcome === 'committed').length
      const doubtful = changes.filter(({ outcome }) => outcome === 'unknown').length
      if (key === 'below') {
        if (value !== 2 * (is['chain'] ?? NaN)) faults.push(`below is ${value} where chain is ${is['chain']}`)
      } else if (value < own + least || value > own + least + doubtful) {
        faults.push(`${key} is ${value}; committed ${own} + ${least}, in doubt ${doubtful}`)
      }
    }
    return faults
  }

  #conserved(state: State): string[] {
    const faults: string[] = []
    if (sum(state.accounts) !== 300) faults.push(`money became ${sum(state.accounts)}`)
    if (state.stock + (state.count['taken'] ?? NaN) !== STOCK) faults.push(`${state.stock} are left of ${STOCK}`)
    const served = [...state.served, ...state.queue].sort()
    if (!isDeepStrictEqual(served, [...this.enqueued].sort())) faults.push('not everything was served once')
    for (const list of [state.list, state.front]) {
      if (new Set(list).size !== list.length) faults.push('a token is there twice')
    }
    for (const { token, outcome, key } of this.slaves.flatMap(({ changes }) => changes)) {
      const inList = state.list.includes(token) || state.front.includes(token)
      if (!['append', 'push', 'unshift'].includes(key) || outcome === 'unknown') continue
      if (inList !== (outcome === 'committed'))
        faults.push(`${token} was ${outcome} and is ${inList ? '' : 'not '}there`)
    }
    return faults
  }

  #newSessions(): Sessions {
    const methods = new Methods()
    const run = ({ token, by, least }: { token: string; by: string; least: number }): string => {
      this.runs.set(token, (this.runs.get(token) ?? 0) + 1)
      const slave = this.slaves.find(({ name }) => name === by)
      const own = this.store.getState().count[`own-${by}`] ?? NaN
      if (slave !== undefined && own < least - slave.refusedOwn)
        this.errors.push(`call ${token} ran before its changes`)
      return token
    }
    methods.expose('echo', run)
    methods.expose('slow', async (params: Parameters<typeof run>[0]) => {
      await new Promise<void>((resolve) => this.clock.setTimeout(resolve, 200))
      return run(params)
    })
    methods.expose('fail', (params: Parameters<typeof run>[0]) => {
      throw new Error(run(params))
    })
    return new Sessions({
      core: this.core,
      methods,
      // At once: nothing here may wait for a time that its clock does not tell.
      deflate: async (text) => deflateRawSync(text),
      append: (batch) => this.#append(batch),
      clock: this.clock,
      log: (level, sentence, details) => {
        if (level === 'error' && !sentence.startsWith('The journal'))
          this.errors.push(`${sentence}: ${String(details?.['error'])}`)
      },
    })
  }

  async #append({ commits }: JournalBatch): Promise<void> {
    const { disk = 0 } = this.options
    if (disk > 0) await new Promise<void>((resolve) => this.clock.setTimeout(resolve, disk))
    if (this.clock.now() < this.#diskFailsUntil) throw new Error('the disk is full')
    this.commits.push(...commits.map(({ commit }) => commit))
  }
}

/** A parser whose messages are another's. */
const changed =
  <M>(parse: (value: unknown) => Parsed<M>, change: (message: M) => M) =>
  (value: unknown): Parsed<M> => {
    const parsed = parse(value)
    return parsed.ok ? { ok: true, value: change(parsed.value) } : parsed
  }
