/**
 * A slave of a world (world.ts), and what its program sees. It writes down what it changed and what became of that, and
 * whether anything was shown or told that may not be.
 */
import type { WorldSlave } from 'named-master/testing'
import type { ErrorCode, NamedMasterError } from '#src/errors.js'
import type { Up } from '#src/protocol/replication.js'
import type { Session } from '#src/slave/session.js'
import { sessionOf } from '#src/testing/world-slave.js'
import { deeds, subscribe, type Deed, type DeedName, type State } from './world-program.js'
import type { World } from './world.js'

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
  readonly #slave: WorldSlave<State>
  readonly #own: string
  readonly #faults: string[] = []
  /** The tokens of others' events as its handlers saw them; `reset` where some may be missing. */
  readonly #heard: string[] = []
  #answers = 8
  #byReset = false
  #secret: string | undefined
  #lastOwn = 0
  /** By how much the own counter went back, and how many own changes were given back: no more than that. */
  #drops = 0
  refusedOwn = 0
  openPromises = 0
  #unreported: number[] = []

  constructor(world: World, slave: WorldSlave<State>, name: string) {
    this.#world = world
    this.#slave = slave
    this.name = name
    this.#own = `own-${name}`
    this.session = sessionOf(slave)
    subscribe((event, handler) => slave.on(event, handler as never), (event, payload) => slave.emit(event, payload), 'slave') // prettier-ignore
    slave.on<{ token: string }>(/^/, (_, { token }, { phase, id }) => {
      if (phase === 'commit' && !id.includes('/')) this.#heard.push(token)
    })
    slave.subscribe(() => this.#look())
    this.session.events.on('caughtUp', ({ by }) => by === 'snapshot' && this.#heard.push('reset'))
    slave.events.on('refused', ({ seq, code }) => this.#refused(seq, code))
    if (world.options.eager === true) {
      slave.subscribe(() => this.#answer('push'))
      slave.events.on('refused', () => this.#answer('own'))
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
    return (
      link?.open === true &&
      replica.live &&
      replica.pending === 0 &&
      replica.version === this.#world.living.master.version
    )
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
      if ('emit' in deed) this.#slave.emit(deed.emit, deed.payload)
      else this.#slave.mutate(deed.mutate)
    } catch (error) {
      if (replica.latestSeq !== before || key !== 'picky') this.#faults.push(`${key} threw ${String(error)}`)
    }
    if (replica.latestSeq === before) this.changes.pop()
    this.#look()
  }

  /** A volatile event, which changes nothing anywhere. */
  wave(): void {
    this.#slave.volatile.emit('wave', { by: this.name, token: 'wave' })
  }

  async call(method: 'echo' | 'slow' | 'fail'): Promise<void> {
    const token = this.#world.token()
    const least = this.changes.filter(({ counts }) => counts === this.#own).length
    this.openPromises++
    try {
      const result = await this.#slave.call(method, { token, by: this.name, least })
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
      await this.#slave.settled()
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

  cut(): void {
    this.#slave.cut()
  }

  move(): void {
    this.#slave.move()
  }

  leave(): void {
    this.#slave.leave()
  }

  comeBack(): void {
    this.#slave.comeBack()
  }

  /** Cut, and back as one whose position the master's log no longer has. */
  comeBackByReset(): void {
    this.#byReset = true
    this.cut()
  }

  /** Back as another tab of who has this secret. */
  comeBackAs(secret: string): void {
    this.#secret = secret
    this.comeBack()
  }

  /** What a message of its becomes before it leaves. */
  says(message: Up): Up {
    if (message.command !== 'hello') return message
    const { position, secret, ...rest } = message.payload
    const byReset = this.#byReset || position === undefined
    this.#byReset = false
    return { ...message, payload: { ...rest, secret: this.#secret ?? secret, ...(byReset ? {} : { position }) } }
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
    // What it was told is of unknown outcome it hears like another's, if it was taken.
    const own = new Set(this.changes.filter(({ outcome }) => outcome !== 'unknown').map(({ token }) => token))
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

  #refused(seq: number, code: ErrorCode): void {
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
