/**
 * The master's half: decides which changes stand, numbers them, and keeps the latest in a log.
 *
 * Promises: a client's change is taken at most once and only in that client's order (`prev` must equal its `lastSeq`);
 * a mutate never overwrites what it has not seen; a client that keeps losing that race is let through. It sends
 * nothing, stores nothing and knows no time but the one it is given.
 */
import type { ErrorCode } from '../protocol/codes.js'
import { NamedMasterError } from '../errors.js'
import type { JsonValue } from '../protocol/json.js'
import type { Commit, CommittedEvent, Origin, Patch } from '../protocol/replication.js'
import { atMost, conflicts, overlaps, type Writes } from './patch.js'
import type { StoreChange, StoreCore } from './store.js'
import type { Change } from './tree.js'

/** A sender as the authority knows it: a public number, the seq of its last commit, and its luck with conflicts. */
export interface Client {
  readonly client: number
  lastSeq: number
  /** Conflicts of the same mutate in a row. */
  losses: number
  /** Before this time it gets no further reservation. */
  favouredAfter: number
  /** Commits its mutates may yet be compared with, as of a time. */
  comparisons: number
  comparedAt: number
}

/**
 * Commits that one client's mutates are compared with in a second, and at most saved up: some 40 ms of work, and a
 * quarter of a second. A slave that keeps up meets a few hundred commits; one back from long ago makes its mutates anew.
 */
const COMPARISONS_PER_SECOND = 200_000
const MAX_COMPARISONS = 1_000_000

export const newClient = (client: number, lastSeq = 0): Client => ({
  client,
  lastSeq,
  losses: 0,
  favouredAfter: 0,
  comparisons: MAX_COMPARISONS,
  comparedAt: 0,
})

interface Numbered {
  readonly id: string
  readonly at: number
  readonly seq: number
  readonly prev: number
}
export interface EmitRequest extends Numbered {
  readonly event: string
  readonly payload?: CommittedEvent['payload']
}
export interface MutateRequest extends Numbered {
  readonly base: number
  readonly patch: Patch
}

/** `dropped`: a repeat, or built on something refused; nobody is told. `held`: ask again when the reservation ends. */
export type Outcome =
  | { readonly outcome: 'committed' | 'dropped' | 'held' }
  | { readonly outcome: 'refused'; readonly code: ErrorCode; readonly message: string }

/** A commit in the log, with what it wrote and its encoded form. */
export interface LogEntry {
  readonly commit: Commit
  readonly text: string
  readonly writes: Writes
  readonly mutate: boolean
}

/** Conflicts in a row after which other slaves' mutates wait: a fifth attempt is then the last. */
const LOSSES_BEFORE_RESERVATION = 4
/** How long others wait at most, in milliseconds; two round trips when that is less. */
const MAX_RESERVATION_MS = 2000
/** A client holds reservations for at most one part in ten of the time. */
const RESERVATION_SHARE = 10
/** Bytes (UTF-16 units) of commits the log keeps at least: minutes of ordinary use. */
const MIN_LOG_CHARACTERS = 8 * 1024 * 1024

const committed: Outcome = { outcome: 'committed' }
const dropped: Outcome = { outcome: 'dropped' }
const held: Outcome = { outcome: 'held' }

export interface AuthorityOptions {
  /** The encoded form of a commit, made once for all who get it. */
  readonly encode: (commit: Commit) => string
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** Throws when the program's own changes cannot be taken now. */
  readonly admit: () => void
  /** Told of every commit, in order, before the change's own caller returns. */
  readonly committed: (entry: LogEntry) => void
  readonly volatile: (event: CommittedEvent) => void
}

export class Authority {
  readonly #core: StoreCore
  readonly #options: AuthorityOptions
  readonly #release: () => void
  /** A ring would save the splice; it is trimmed in runs, so the splice is rare. */
  #log: LogEntry[] = []
  #logCharacters = 0
  #logLimit = MIN_LOG_CHARACTERS
  #taking: { readonly mutate: boolean; readonly origin: Origin } | undefined
  #reservation:
    { readonly client: Client; readonly writes: Writes; readonly since: number; readonly until: number } | undefined

  constructor(core: StoreCore, options: AuthorityOptions) {
    this.#core = core
    this.#options = options
    this.#release = core.own({
      admit: options.admit,
      changed: (change) => this.#commit(change),
      volatile: options.volatile,
    })
  }

  /** Lets go of the store, which is then an ordinary local one again. */
  close(): void {
    this.#release()
  }

  get version(): number {
    return this.#core.version
  }

  /** The oldest version that a replica may stand at to be sent commits only. */
  get oldest(): number {
    return this.version - this.#log.length
  }

  /** The commit that made this version, while the log has it. */
  entry(version: number): LogEntry | undefined {
    return this.#log[version - this.oldest - 1]
  }

  /** Characters of encoded commits after a version. */
  charactersSince(version: number): number {
    let sum = 0
    for (let v = Math.max(version, this.oldest) + 1; v <= this.version; v++) sum += this.entry(v)?.text.length ?? 0
    return sum
  }

  /** The log keeps at least as many characters of commits as the latest snapshot has. */
  keep(snapshotCharacters: number): void {
    this.#logLimit = Math.max(MIN_LOG_CHARACTERS, snapshotCharacters)
  }

  /** What a journal kept takes the place of the state and of the log: the latest commits up to the version. */
  restore(state: JsonValue | undefined, version: number, entries: readonly LogEntry[]): void {
    this.#core.restore(state, version)
    this.#log = [...entries]
    this.#logCharacters = entries.reduce((sum, { text }) => sum + text.length, 0)
    this.#trim()
  }

  /** A slave's emit. */
  emit(client: Client, request: EmitRequest): Outcome {
    if (!follows(client, request)) return dropped
    const { event, payload, id, at, seq } = request
    const origin = { client: client.client, seq }
    try {
      this.#take({ mutate: false, origin }, () =>
        this.#core.emit({ event, id, at, ...(payload === undefined ? {} : { payload }) }, origin),
      )
    } catch (error) {
      return refuseFor(error, 'The master could not run this event')
    }
    this.#answered(client, seq)
    return committed
  }

  /** A slave's mutate. `roundTrip` bounds how long others may have to wait for it, in milliseconds. */
  mutate(client: Client, request: MutateRequest, roundTrip = MAX_RESERVATION_MS / 2): Outcome {
    if (!follows(client, request)) return dropped
    const { seq, base, patch } = request
    if (base > this.version) return refuse('invalid-patch', `The base ${base} is a version that is not there yet`)
    if (base < this.oldest) return this.#conflict(client, atMost(patch), roundTrip)
    const origin = { client: client.client, seq }
    let outcome: Outcome = committed
    const verify = (change: Change): boolean => {
      if (this.#meets(client, base, change.writes)) outcome = this.#conflict(client, change.writes, roundTrip)
      else if (this.#mustWait(client, change.writes)) outcome = held
      return outcome === committed
    }
    let applied: ReturnType<StoreCore['patch']>
    try {
      applied = this.#take({ mutate: true, origin }, () => this.#core.patch(patch, origin, verify))
    } catch (error) {
      return refuseFor(error, 'The master could not apply this change')
    }
    if (applied === 'unfit') {
      if (base === this.version) return refuse('invalid-patch', 'The patch does not fit the state it was made on')
      return this.#conflict(client, atMost(patch), roundTrip)
    }
    if (applied === 'done') this.#answered(client, seq)
    return outcome
  }

  /** When held changes may be asked again, in milliseconds of `now`; undefined when nobody has to wait. */
  get reservedUntil(): number | undefined {
    return this.#reservation?.until
  }

  /** A client that is gone holds up nobody. */
  forget(client: Client): void {
    if (this.#reservation?.client === client) this.#endReservation()
  }

  #take<T>(taking: { mutate: boolean; origin: Origin }, program: () => T): T {
    this.#taking = taking
    try {
      return program()
    } finally {
      this.#taking = undefined
    }
  }

  #commit({ version, change, events, origin }: StoreChange): void {
    const commit: Commit = {
      version,
      patch: change.patch as Commit['patch'],
      events: [...events],
      ...(origin && { origin }),
    }
    // A listener of the store may change it while a slave's change is being told: that change is the program's own.
    const mutate = origin !== undefined && this.#taking?.origin === origin && this.#taking.mutate
    const entry = { commit, text: this.#options.encode(commit), writes: change.writes, mutate }
    this.#log.push(entry)
    this.#logCharacters += entry.text.length
    this.#trim()
    this.#options.committed(entry)
  }

  #trim(): void {
    // Trimmed to the limit once it is over by a quarter, so that the array is not shifted for every commit.
    if (this.#logCharacters <= this.#logLimit * 1.25) return
    let gone = 0
    while (this.#logCharacters > this.#logLimit && gone < this.#log.length - 1) {
      this.#logCharacters -= (this.#log[gone++] as LogEntry).text.length
    }
    this.#log.splice(0, gone)
  }

  /** Whether a commit after the base, other than this client's own mutates, wrote what this one writes. */
  #meets(client: Client, base: number, writes: Writes): boolean {
    this.#earn(client)
    // A plain loop: a client with thousands of mutates on one base asks about all of its own each time.
    for (let i = base - this.oldest; i < this.#log.length; i++) {
      const entry = this.#log[i] as LogEntry
      if (entry.mutate && entry.commit.origin?.client === client.client) continue
      // Whoever asks too much is told of a conflict unseen: that is always safe, and its next base is a newer one.
      if (--client.comparisons < 0 || conflicts(writes, entry.writes)) return true
    }
    return false
  }

  #earn(client: Client): void {
    const now = this.#options.now()
    const earned = ((now - client.comparedAt) / 1000) * COMPARISONS_PER_SECOND
    client.comparisons = Math.min(MAX_COMPARISONS, Math.max(0, client.comparisons) + earned)
    client.comparedAt = now
  }

  #conflict(client: Client, writes: Writes, roundTrip: number): Outcome {
    client.losses++
    this.#expire()
    const now = this.#options.now()
    if (client.losses >= LOSSES_BEFORE_RESERVATION && this.#reservation === undefined && now >= client.favouredAfter) {
      this.#reservation = { client, writes, since: now, until: now + Math.min(2 * roundTrip, MAX_RESERVATION_MS) }
    }
    return refuse('conflict', 'What this change writes was changed meanwhile')
  }

  #mustWait(client: Client, writes: Writes): boolean {
    this.#expire()
    if (this.#reservation === undefined || this.#reservation.client === client) return false
    return overlaps(writes, this.#reservation.writes)
  }

  #answered(client: Client, seq: number): void {
    client.lastSeq = seq
    client.losses = 0
    if (this.#reservation?.client === client) this.#endReservation()
  }

  #expire(): void {
    if (this.#reservation !== undefined && this.#options.now() >= this.#reservation.until) this.#endReservation()
  }

  #endReservation(): void {
    if (this.#reservation === undefined) return
    const { client, since, until } = this.#reservation
    const end = Math.min(this.#options.now(), until)
    client.favouredAfter = end + (RESERVATION_SHARE - 1) * (end - since)
    this.#reservation = undefined
  }
}

const follows = (client: Client, { seq, prev }: Numbered): boolean => prev === client.lastSeq && seq > prev

const refuse = (code: ErrorCode, message: string): Outcome => ({ outcome: 'refused', code, message })

function refuseFor(error: unknown, otherwise: string): Outcome {
  const { code, message } = NamedMasterError.from(error, 'internal', otherwise)
  return refuse(code, message)
}
