/**
 * A world (see `createWorld`) whose programs add up: all faults are made here, and all that happens is written down, so
 * that `faults()` can say what is wrong.
 */
import { isDeepStrictEqual } from 'node:util'
import { createWorld, type World as LivingWorld } from 'named-master/testing'
import type { Commit, Down, Up } from '#src/protocol/replication.js'
import { createStore } from '#src/store/index.js'
import type { Microstore } from '#src/store/microstore.js'
import { counted, deeds, initialState, STOCK, subscribe, sum, type Deed, type DeedName, type State } from './world-program.js' // prettier-ignore
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
  readonly durability?: 'process' | 'disk'
  readonly heartbeat?: boolean
  /** Listeners answer changes and refusals with changes of their own. */
  readonly eager?: boolean
  /** What a message becomes on its way, to break a rule and see that it is missed. */
  readonly up?: (message: Up, world: World) => Up
  readonly down?: (message: Down, world: World) => Down
}

/** What the master's own program did: it counts if its version was kept. */
interface Done {
  readonly version: number
  readonly counts?: string | undefined
  readonly enqueued?: string
}

export class World {
  readonly options: WorldOptions
  /** All that is in the journal, by version. */
  readonly commits: Commit[] = []
  /** What a room found wrong by itself. */
  readonly errors: string[] = []
  /** How often each call ran. */
  readonly runs = new Map<string, number>()
  #living: LivingWorld<State> | undefined
  #slaves: readonly SlaveSide[] = []
  #done: Done[] = []
  #tokens = 0
  #reactedTo = 0
  #flooded = false

  private constructor(options: WorldOptions) {
    this.options = options
  }

  /** A world whose slaves are on their way to the master. */
  static async begin(options: WorldOptions): Promise<World> {
    const world = new World(options)
    const { seed, latencies, jitter = 0, loss = 0, rate = Infinity, frame, disk = 0, durability, heartbeat } = options
    const living = await createWorld<State>({
      slaves: latencies,
      seed,
      jitter,
      loss,
      rate,
      maxFrameBytes: frame ?? 65_536,
      heartbeat: heartbeat ?? false,
      durability: durability ?? 'process',
      disk: { latency: disk },
      joined: false,
      store: () => world.#newStore(),
      tamper: {
        up: (message, slave) => {
          const said = world.#slaves[slave]?.says(message) ?? message
          return options.up?.(said, world) ?? said
        },
        down: (message) => options.down?.(message, world) ?? message,
      },
      log: (level, sentence, details) => {
        if (level === 'error' && !sentence.startsWith('The journal'))
          world.errors.push(`${sentence}: ${String(details?.['error'])}`)
      },
    })
    world.#living = living
    living.disk.events.on('written', ({ writes }) => {
      for (const { table, value } of writes) {
        if (table !== 'commits' || value === undefined) continue
        const { commit } = value as { commit: Commit }
        world.commits[commit.version - 1] = commit
      }
    })
    world.#exposeMethods()
    world.#slaves = living.slaves.map((slave, i) => new SlaveSide(world, slave, `s${i}`))
    for (const slave of living.slaves) slave.comeBack()
    return world
  }

  get living(): LivingWorld<State> {
    if (this.#living === undefined) throw new Error('The world has not begun')
    return this.#living
  }

  get slaves(): readonly SlaveSide[] {
    return this.#slaves
  }

  get clock(): LivingWorld['clock'] {
    return this.living.clock
  }

  get store(): Microstore<State> {
    return this.living.master.store
  }

  token(): string {
    return `t${this.#tokens++}`
  }

  /** The master's own program does something. */
  act(name: DeedName): void {
    const deed: Deed = deeds[name]('master', this.token())
    if (deed.counts?.startsWith('own') === true) return
    this.#do(() => {
      if ('emit' in deed) this.store.emit(deed.emit, deed.payload)
      else this.store.mutate(deed.mutate)
      return { counts: deed.counts }
    })
  }

  /** More at once than a link has room for; once, since it takes long. */
  flood(): void {
    if (this.#flooded) return
    this.#flooded = true
    const text = 'x'.repeat(60_000)
    for (let n = 0; n < 24; n++) {
      this.#do(() => {
        this.store.emit('news', { token: this.token(), text })
        return {}
      })
    }
  }

  enqueue(): void {
    const token = this.token()
    this.#do(() => {
      this.store.mutate((state) => void state.queue.push(token))
      return { enqueued: token }
    })
  }

  failDisk(ms: number): void {
    this.living.disk.fail()
    this.clock.setTimeout(() => this.living.disk.heal(), ms)
  }

  /** The master ends in order, and begins again. `forgetful`: it knows none of its clients. */
  async restart(forgetful = false): Promise<void> {
    const { master, disk } = this.living
    disk.heal()
    // What cannot be written is given up by a master that ends.
    await this.rest(() => master.written === master.version)
    await master.stop()
    if (forgetful) await this.clock.until(this.#forgetClients())
    await master.restart()
    this.#begun()
  }

  /** The master is killed, and begins again. */
  async kill(): Promise<void> {
    const { master, disk } = this.living
    disk.heal()
    master.kill()
    await master.restart()
    this.#begun()
  }

  /** The power of the master's machine fails, and comes back. */
  async powerCut(): Promise<void> {
    const { master, disk } = this.living
    disk.heal()
    master.powerCut('some')
    await master.restart()
    this.#begun()
  }

  /** Lets all faults end, everybody join, and everything be answered. */
  async quiesce(): Promise<void> {
    await this.living.settle().catch((error: unknown) => this.errors.push(String(error)))
    await this.rest(() => this.slaves.every((slave) => slave.openPromises === 0))
  }

  /** Lets the time pass until something is so, or longer than anything may take. */
  async rest(until: () => boolean): Promise<void> {
    const end = this.clock.now() + REST_MS
    await this.clock.advance(0)
    while (!until() && this.clock.now() < end) await this.clock.advance(10)
  }

  get rests(): boolean {
    return this.living.master.slaves.length === this.slaves.length && this.slaves.every((slave) => slave.rests)
  }

  /** What is wrong, at rest. */
  faults(): string[] {
    const state = this.store.getState()
    const faults = [...this.errors, ...this.#sums(state), ...this.#conserved(state)]
    const { version } = this.living.master
    if (this.commits.length !== version) faults.push(`${this.commits.length} commits make version ${version}`)
    this.commits.forEach(
      (commit, i) => commit.version === i + 1 || faults.push(`version ${commit.version} is the ${i + 1}th`),
    )
    for (const [call, runs] of this.runs) if (runs > 1) faults.push(`call ${call} ran ${runs} times`)
    for (const slave of this.slaves) {
      if (!isDeepStrictEqual(slave.state, state)) faults.push(`${slave.name} shows another state than the master`)
      faults.push(...slave.faults())
    }
    return faults
  }

  /** Ends it all. */
  async end(): Promise<void> {
    await this.living.close()
    await this.clock.advance(REST_MS)
  }

  #newStore(): Microstore<State> {
    const store = createStore(initialState(this.options.latencies.length), {
      report: (error) => this.errors.push(String(error)),
    })
    subscribe((event, handler) => store.on(event, handler as never), (event, payload) => store.emit(event, payload), 'master') // prettier-ignore
    if (this.options.eager === true) store.subscribe(() => this.#react())
    return store
  }

  /** What the last life did and had not written is as if it had never been. */
  #begun(): void {
    const { version } = this.living.master
    this.commits.length = version
    this.#done = this.#done.filter((done) => done.version <= version)
  }

  async #forgetClients(): Promise<void> {
    const storage = this.living.disk.open()
    await storage.clear('clients', {})
    await storage.clear('seqs', {})
    await storage.close()
  }

  /** A change of the master's own: written down, unless it is refused or changes nothing. */
  #do(change: () => Omit<Done, 'version'>): void {
    const { version } = this.living.master
    try {
      const done = change()
      // What its listeners did at once came after it.
      if (this.living.master.version > version) this.#done.push({ version: version + 1, ...done })
    } catch {
      // Refused, so it does not count.
    }
  }

  /** The program answers every fifth step of the counter that all use. */
  #react(): void {
    if (!this.#living?.master.alive) return
    const { n = NaN } = this.store.getState().count
    if (n % 5 !== 0 || n === this.#reactedTo) return
    this.#reactedTo = n
    this.act('onBlind')
    this.act('bump')
  }

  #sums(state: State): string[] {
    const faults: string[] = []
    const is = counted(state)
    for (const [key, value] of Object.entries(is)) {
      const changes = this.slaves.flatMap(({ changes }) => changes).filter(({ counts }) => counts === key)
      const own = this.#done.filter(({ counts }) => counts === key).length
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
    const enqueued = this.#done.flatMap(({ enqueued: token }) => token ?? [])
    const served = [...state.served, ...state.queue].sort()
    if (!isDeepStrictEqual(served, enqueued.sort())) faults.push('not everything was served once')
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

  #exposeMethods(): void {
    const { master } = this.living
    const run = ({ token, by, least }: { token: string; by: string; least: number }): string => {
      this.runs.set(token, (this.runs.get(token) ?? 0) + 1)
      const slave = this.slaves.find(({ name }) => name === by)
      const own = this.store.getState().count[`own-${by}`] ?? NaN
      if (slave !== undefined && own < least - slave.refusedOwn)
        this.errors.push(`call ${token} ran before its changes`)
      return token
    }
    master.expose('echo', run)
    master.expose('slow', async (params: Parameters<typeof run>[0]) => {
      await new Promise<void>((resolve) => this.clock.setTimeout(resolve, 200))
      return run(params)
    })
    master.expose('fail', (params: Parameters<typeof run>[0]) => {
      throw new Error(run(params))
    })
  }
}

/** More than anything waits for: calls 30 s, a welcome 20 s. */
const REST_MS = 60_000
