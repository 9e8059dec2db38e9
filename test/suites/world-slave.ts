/**
 * A slave of a world (world.ts): its session, the links it goes over, and what its program sees. It writes down what it
 * changed and what became of that, and whether anything was shown or told that may not be.
 */
import { v7 } from 'uuid'
import type { NamedMasterError } from '#src/errors.js'
import { Session } from '#src/slave/session.js'
import { Handlers, madeEvent } from '#src/store/handlers.js'
import { deeds, subscribe, type Deed, type DeedName, type State } from './world-program.js'
import type { World, WorldPair } from './world.js'

/** Milliseconds until a slave whose link was lost has the next. */
const REDIAL_MS = 30
/** A change of a slave, and what became of it. */
interface Made {
  readonly seq: number
  readonly key: DeedName
  readonly token: string
  readonly counts: string | undefined
  outcome: 'pending' | 'committed' | 'refused' | 'unknown'
}

export class SlaveSide {
  readonly name: string
  readonly session: Session
  readonly changes: Made[] = []
  readonly #world: World
  readonly #latency: number
  readonly #own: string
  readonly #faults: string[] = []
  /** The tokens of others' events as its handlers saw them; `reset` where some may be missing. */
  readonly #heard: string[] = []
  #pair: WorldPair | undefined
  #away = false
  #answers = 8
  #byReset = false
  #secret: string | undefined
  #redial: unknown
  #lastOwn = 0
  /** By how much the own counter went back, and how many own changes were given back: no more than that. */
  #drops = 0
  refusedOwn = 0
  openPromises = 0
  #unreported: number[] = []

  constructor(world: World, name: string, latency: number) {
    this.#world = world
    this.name = name
    this.#latency = latency
    this.#own = `own-${name}`
    const handlers = new Handlers(() => {})
    this.session = new Session({
      handlers,
      clock: world.clock,
      log: (level, sentence, details) => {
        if (level === 'error') this.#faults.push(`${sentence}: ${String(details?.['error'])}`)
      },
    })
    subscribe(
      (event, handler) => handlers.on(event, handler),
      (event, payload) => handlers.emittedInside(event, payload as never),
      'slave',
    )
    handlers.on(/^/, (_, payload, { phase, id }) => {
      const { token } = payload as { token: string }
      if (phase === 'commit' && !id.includes('/')) this.#heard.push(token)
    })
    this.session.events.on('changed', () => this.#look())
    this.session.events.on('caughtUp', ({ by }) => by === 'snapshot' && this.#heard.push('reset'))
    this.session.events.on('refused', ({ seq, error }) => this.#refused(seq, error))
    if (world.options.eager === true) {
      this.session.events.on('changed', () => this.#answer('push'))
      this.session.events.on('refused', () => this.#answer('own'))
      this.session.replica.events.on('settled', () => this.#answer('onGuess'))
      this.session.events.on('caughtUp', () => this.#answer('transfer'))
    }
    this.session.replica.events.on('settled', (seq) => this.#settled(seq))
  }

  get state(): State | undefined {
    return this.session.replica.value as State | undefined
  }

  get rests(): boolean {
    const { replica, link } = this.session
    return link?.open === true && replica.live && replica.pending === 0 && replica.version === this.#world.core.version
  }

  do(key: DeedName): void {
    const { replica } = this.session
    if (replica.position === undefined) return
    const token = this.#world.token()
    const deed: Deed = deeds[key](this.name, token)
    const before = replica.latestSeq
    // Written down before it is made: its listeners hear of it at once.
    const made: Made = { seq: before + 1, key, token, counts: deed.counts, outcome: 'pending' }
    this.changes.push(made)
    try {
      if ('emit' in deed) replica.emit(madeEvent(deed.emit, deed.payload))
      else replica.mutate((state) => deed.mutate(state as State), v7(), 0)
    } catch (error) {
      if (replica.latestSeq !== before || key !== 'picky') this.#faults.push(`${key} threw ${String(error)}`)
    }
    if (replica.latestSeq === before) this.changes.pop()
    this.session.flushSoon()
    this.#look()
  }

  /** A volatile event, which changes nothing anywhere. */
  wave(): void {
    this.session.volatile(madeEvent('wave', { by: this.name, token: 'wave' }))
  }

  async call(method: 'echo' | 'slow' | 'fail'): Promise<void> {
    const token = this.#world.token()
    const least = this.changes.filter(({ counts }) => counts === this.#own).length
    this.openPromises++
    try {
      const { calls, replica } = this.session
      const result = await calls.call(method, { token, by: this.name, least }, replica.latestSeq, {})
      if (result !== token || this.#world.runs.get(token) !== 1)
        this.#faults.push(`call ${token} gave ${String(result)}`)
    } catch (error) {
      const { code } = error as NamedMasterError
      const ran = this.#world.runs.get(token) === 1
      const fair = code === 'method-failed' ? method === 'fail' && ran : ['timeout', 'unknown-outcome'].includes(code)
      if (!fair) this.#faults.push(`call ${token} failed: ${String(error)}`)
    } finally {
      this.openPromises--
    }
  }

  async settled(): Promise<void> {
    const target = this.session.replica.latestSeq
    this.openPromises++
    try {
      await this.session.settled()
      if (this.#unreported.some((seq) => seq <= target))
        this.#faults.push('settled() resolved though a change was refused')
    } catch {
      if (!this.#unreported.some((seq) => seq <= target)) this.#faults.push('settled() rejected for nothing')
      this.#unreported = this.#unreported.filter((seq) => seq > target)
    } finally {
      this.openPromises--
    }
    if (this.changes.some(({ seq, outcome }) => seq <= target && outcome === 'pending'))
      this.#faults.push('settled() came early')
  }

  join(): void {
    this.#world.clock.clearTimeout(this.#redial)
    this.#redial = undefined
    const byReset = this.#byReset
    const secret = this.#secret
    const pair = this.#world.connect(
      this.#latency,
      (message) => {
        if (message.command !== 'hello') return message
        const { position, ...rest } = message.payload
        const payload = {
          ...rest,
          ...(byReset || position === undefined ? {} : { position }),
          ...(secret && { secret }),
        }
        return { ...message, payload }
      },
      () => ({ lowestCall: this.session.calls.lowest }),
    )
    this.#pair = pair
    this.#byReset = false
    pair.left.events.on('close', () => {
      if (this.#pair !== pair) return
      this.#pair = undefined
      // Once something is wrong, that is enough.
      if (!this.#away && this.#faults.length === 0)
        this.#redial ??= this.#world.clock.setTimeout(() => this.join(), REDIAL_MS)
    })
    this.session.attach(pair.left).catch(() => {
      // It was cut before; the next one is on its way.
    })
  }

  cut(): void {
    this.#pair?.cut()
  }

  /** A new link while the old one is as good as ever. */
  move(): void {
    if (!this.#away) this.join()
  }

  /** Cut, and back as one whose position the master's log no longer has. */
  comeBackByReset(): void {
    this.#byReset = true
    this.cut()
  }

  leave(): void {
    this.#away = true
    this.#world.clock.clearTimeout(this.#redial)
    this.#redial = undefined
    this.cut()
  }

  /** Back as another tab of who has this secret. */
  comeBackAs(secret: string): void {
    this.#secret = secret
    this.comeBack()
  }

  comeBack(anew = false): void {
    this.#away = false
    if (anew) this.cut()
    if (this.#pair === undefined) this.join()
  }

  faults(): string[] {
    const faults = [...this.#faults]
    const { replica } = this.session
    if (!this.rests) faults.push(`it does not rest: ${replica.pending} pending, version ${replica.version}`)
    if (this.openPromises > 0) faults.push(`${this.openPromises} promises hang`)
    if (this.#drops > this.refusedOwn) {
      faults.push(`its own counter went back by ${this.#drops}, with ${this.refusedOwn} refused`)
    }
    return [...faults, ...this.#order()].map((fault) => `${this.name}: ${fault}`)
  }

  /** What its handlers saw are others' events in the order of the commits, without a gap unless there was a reset. */
  #order(): string[] {
    const own = new Set(this.changes.map(({ token }) => token))
    const all = this.#world.commits.flatMap(({ events }) => {
      const [first] = events
      return first === undefined ? [] : [(first.payload as { token: string }).token]
    })
    const others = all.filter((token) => !own.has(token))
    let next = 0
    let free = true
    for (const token of this.#heard) {
      if (token === 'reset') {
        free = true
        continue
      }
      const at = others.indexOf(token)
      if (at === -1 || (free ? at < next : at !== next)) return [`it heard ${token} at the wrong moment`]
      next = at + 1
      free = false
    }
    return free || next === others.length ? [] : ['it missed events at the end']
  }

  /** As a program would, in a listener. */
  #answer(key: DeedName): void {
    if (this.#answers === 0) return
    this.#answers--
    this.do(key)
  }

  #look(): void {
    const own = this.state?.count[this.#own] ?? 0
    const made = this.changes.filter(({ counts }) => counts === this.#own).length
    if (own > made) this.#faults.push(`its own counter shows ${own} after ${made} changes`)
    this.#drops += Math.max(0, this.#lastOwn - own)
    this.#lastOwn = own
  }

  #refused(seq: number, { code }: NamedMasterError): void {
    this.#unreported.push(seq)
    const made = this.changes.find((change) => change.seq === seq)
    if (made?.outcome !== 'pending') return void this.#faults.push(`${seq} was refused when it was ${made?.outcome}`)
    made.outcome = code === 'unknown-outcome' ? 'unknown' : 'refused'
    if (made.counts === this.#own) this.refusedOwn++
    const expected = { take: 'handler-failed', refuse: 'handler-failed', picky: 'mutator-failed' }
    const allowed = ['storage-full', 'unknown-outcome', expected[made.key as keyof typeof expected]]
    if (!allowed.includes(code)) this.#faults.push(`${made.key} was refused ${code}`)
  }

  #settled(upTo: number): void {
    for (const change of this.changes) {
      if (change.seq <= upTo && change.outcome === 'pending') change.outcome = 'committed'
    }
  }
}
