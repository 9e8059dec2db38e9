/**
 * A client's own changes, from the program to their answer: in their order, with what has to be said of each.
 *
 * The life of a change: added -> given out by `sendable` -> answered by its commit, or refused: run again after a
 * `conflict`, given back to the program after anything else. What a change does to the state shown is the replica's part.
 *
 * With an outbox (outbox.ts of the slave's room) it also tells what is to be written there, and gives nothing out before it
 * is written that it may leave.
 */
import { NamedMasterError } from '../errors.js'
import { equalJson } from '../protocol/json.js'
import type { CommittedEvent, Patch, UpPayload } from '../protocol/replication.js'
import type { Guard } from './guards.js'
import type { IdleRuns } from './handlers.js'
import { emptyWrites, overlaps, together, type Writes } from './patch.js'
import type { Change } from './tree.js'

/** Changes that may wait for their answer: at a thousand a second, ten seconds without a master. */
export const MAX_PENDING_CHANGES = 10_000

/**
 * Characters of JSON that changes in an outbox may have in all: a browser gives a page far more, and a program that has so much
 * to say offline has something else in mind. One change may go beyond.
 */
export const MAX_KEPT_CHARACTERS = 32 * 1024 * 1024

/** Acknowledged seqs remembered, to tell which of them a master that lost its latest writes took back. */
const MAX_ACKNOWLEDGED_SEQS = 10_000

interface PendingBase {
  readonly seq: number
  readonly id: string
  readonly at: number
  /** What it does to the state shown, while it does. */
  shown: Change | undefined
  /** Whether it is on its way on the present link. Those that are not are the last ones. */
  sent: boolean
  /** Whether it was on its way on an earlier link: a master may have taken it. */
  left: boolean
}
export interface PendingEmit extends PendingBase {
  readonly kind: 'emit'
  readonly event: CommittedEvent
  readonly idle: IdleRuns
}
export interface PendingMutate extends PendingBase {
  readonly kind: 'mutate'
  /** Undefined once it has come out of an outbox: a function cannot be kept. */
  readonly mutator: ((state: unknown) => unknown) | undefined
  /** What the patch wrote over; only where there is an outbox. */
  guards: readonly Guard[]
  /** What it is when sent: a patch on the version `base`, and what that writes. */
  base: number
  patch: Patch
  writes: Writes
  /** Its patch no longer holds: a commit wrote what it writes, or it was refused so. */
  stale: boolean
}
export type Pending = PendingEmit | PendingMutate

/** A change as it goes up, with what the envelope needs. */
export type Outgoing = { readonly id: string; readonly at: number } & (
  | { readonly command: 'emit'; readonly payload: UpPayload<'emit'> }
  | { readonly command: 'mutate'; readonly payload: UpPayload<'mutate'> }
)

/** A change that left without a commit, as the program is told. */
export interface Refusal {
  readonly seq: number
  readonly error: NamedMasterError
  readonly event: string | undefined
  readonly patch: Patch | undefined
}

/** A change as an outbox keeps it. */
export type KeptChange = { readonly seq: number; readonly id: string; readonly at: number } & (
  | { readonly kind: 'emit'; readonly event: string; readonly payload?: CommittedEvent['payload'] }
  | { readonly kind: 'mutate'; readonly patch: Patch; readonly guards: readonly Guard[] }
)

/** How far a client has come, as its outbox knows. */
export interface Reach {
  /** The highest seq that was ever used. */
  readonly highest: number
  /** Changes up to this seq may have left. */
  readonly left: number
}

/** What an outbox has of an earlier life. */
export interface Kept extends Reach {
  /** In the order of their seqs. */
  readonly changes: readonly KeptChange[]
}

/** What is to be written to an outbox, all of it or nothing. */
export interface Unwritten extends Reach {
  readonly changes: readonly KeptChange[]
  /** Seqs of changes that are answered, and deleted. */
  readonly gone: readonly number[]
}

/** What own emits up to an index only guessed. */
interface Guessed {
  readonly count: number
  readonly writes: Writes
}

export class PendingChanges {
  #list: Pending[] = []
  #nextSeq = 1
  /** The seq of our last commit, as far as we know. */
  #lastSeq = 0
  #acknowledged: number[] = []
  #returned: Refusal[] = []
  /** With an outbox: what it has not been given yet. */
  readonly #outbox:
    { readonly changed: Map<number, Pending>; gone: number[]; readonly sizes: Map<number, number> } | undefined
  #characters = 0
  /** Changes up to this seq may leave: without an outbox all of them, with one those of which it knows that they do. */
  #mayLeave = Infinity

  /** @param kept there is an outbox, and this was in it */
  constructor(kept?: Kept) {
    if (kept === undefined) return
    this.#outbox = { changed: new Map(), gone: [], sizes: new Map() }
    this.#nextSeq = kept.highest + 1
    this.#mayLeave = kept.left
    for (const change of kept.changes) {
      this.#list.push(revived(change, change.seq <= kept.left))
      this.#measure(change)
    }
  }

  /** Whether changes may outlive this object. */
  get kept(): boolean {
    return this.#outbox !== undefined
  }
  get size(): number {
    return this.#list.length
  }
  get first(): Pending | undefined {
    return this.#list[0]
  }
  /** The oldest first; a copy, since changes leave while one goes through them. */
  get all(): readonly Pending[] {
    return [...this.#list]
  }
  /** The seq of the latest change made. */
  get latestSeq(): number {
    return this.#nextSeq - 1
  }
  /** Every change up to this seq is answered. */
  get settledSeq(): number {
    return (this.#list[0]?.seq ?? this.#nextSeq) - 1
  }
  /** Whether a mutate waits to be sent. */
  get mutateWaits(): boolean {
    return this.#list.slice(this.#unsentFrom()).some(({ kind }) => kind === 'mutate')
  }

  get hasMutate(): boolean {
    return this.#list.some(({ kind }) => kind === 'mutate')
  }

  find(seq: number): Pending | undefined {
    return this.#list.find((pending) => pending.seq === seq)
  }

  /** @throws NamedMasterError outbox-full */
  admit(): void {
    if (this.#list.length >= MAX_PENDING_CHANGES) throw full(`${MAX_PENDING_CHANGES} changes`)
    if (this.#characters >= MAX_KEPT_CHARACTERS) throw full(`Changes of ${MAX_KEPT_CHARACTERS} characters`)
  }

  emit(event: CommittedEvent): PendingEmit {
    const { id, at } = event
    const seq = this.#nextSeq++
    const made: PendingEmit = { kind: 'emit', seq, id, at, event, idle: [], shown: undefined, sent: false, left: false }
    this.#list.push(made)
    this.#change(made)
    return made
  }

  mutate(made: Pick<PendingMutate, 'id' | 'at' | 'mutator' | 'base' | 'shown' | 'patch' | 'writes' | 'guards'>): void {
    const seq = this.#nextSeq++
    const pending: PendingMutate = { kind: 'mutate', seq, ...made, sent: false, left: false, stale: false }
    this.#list.push(pending)
    this.#change(pending)
  }

  /** Run again. Where it makes the same patch as before, the outbox has it already. */
  remake(pending: PendingMutate, made: Pick<PendingMutate, 'base' | 'shown' | 'patch' | 'writes' | 'guards'>): void {
    const same = this.#outbox === undefined || equalJson([pending.patch, pending.guards], [made.patch, made.guards])
    Object.assign(pending, made, { stale: false })
    if (!same) this.#change(pending)
  }

  /** A new link: its first welcome decides what is sent again. */
  relink(): void {
    for (const pending of this.#list) {
      pending.left ||= pending.sent
      pending.sent = false
    }
  }

  /** This one and all after it are given out again. */
  resendFrom(pending: Pending): void {
    for (const later of this.#list.slice(this.#list.indexOf(pending))) later.sent = false
  }

  /**
   * The changes that may leave now, marked as sent: all of them in order, up to a mutate that writes what an own
   * unanswered emit predicted (a guess must not become truth).
   */
  sendable(): Outgoing[] {
    const outgoing: Outgoing[] = []
    let prev = this.#list[this.#unsentFrom() - 1]?.seq ?? this.#lastSeq
    for (const pending of this.#due()) {
      if (pending.seq > this.#mayLeave) break
      outgoing.push(toOutgoing(pending, prev))
      pending.sent = true
      prev = pending.seq
    }
    return outgoing
  }

  /**
   * What the outbox has not been given yet; undefined when there is nothing. `leaving`: what is due is about to leave.
   * One after the other: the next is asked for when `written` has been told of this one.
   */
  unwritten(leaving: boolean): Unwritten | undefined {
    if (this.#outbox === undefined) return undefined
    const { changed, gone } = this.#outbox
    const left = Math.max(this.#mayLeave, leaving ? (this.#due().at(-1)?.seq ?? 0) : 0)
    if (changed.size === 0 && gone.length === 0 && left === this.#mayLeave) return undefined
    const changes = [...changed.values()].map(toKept)
    changed.clear()
    this.#outbox.gone = []
    return { highest: this.latestSeq, left, changes, gone }
  }

  written({ left }: Reach): void {
    this.#mayLeave = left
  }

  /** Whether one without a function has to wait: what own emits before it did decides whether it still holds. */
  waits(pending: PendingMutate): boolean {
    return pending.mutator === undefined && this.#list.some(({ kind, seq }) => kind === 'emit' && seq < pending.seq)
  }

  /** Whether a mutate writes what an own emit before it only guessed. */
  guesses(pending: PendingMutate): boolean {
    return overlaps(pending.writes, this.#guessed(this.#list.indexOf(pending)).writes)
  }

  /** A welcome: what is answered up to there. Answers the seqs that had been acknowledged and were taken back. */
  welcome(lastSeq: number | undefined): readonly number[] {
    const known = this.#acknowledged
    this.#lastSeq = lastSeq ?? 0
    // A power cut may have taken the latest seqs from the outbox, and not from the master.
    this.#nextSeq = Math.max(this.#nextSeq, this.#lastSeq + 1)
    this.#acknowledged = lastSeq === undefined ? [] : known.filter((seq) => seq <= lastSeq)
    return lastSeq === undefined ? [] : known.filter((seq) => seq > lastSeq)
  }

  /** The master has committed it, whether or not we still have it. */
  committed(seq: number): void {
    const at = this.#list.findIndex((pending) => pending.seq === seq)
    if (at === 0) this.#list.shift()
    else if (at > 0) this.#list.splice(at, 1)
    if (at >= 0) this.#leave(seq)
    this.#lastSeq = Math.max(this.#lastSeq, seq)
    this.#acknowledged.push(seq)
    if (this.#acknowledged.length > MAX_ACKNOWLEDGED_SEQS) this.#acknowledged.shift()
  }

  /** It has nothing left to do, and is settled unsent. */
  drop(pending: Pending): void {
    this.#list = this.#list.filter((other) => other !== pending)
    this.#leave(pending.seq)
  }

  /** It leaves without a commit; the program is told with the next `takeReturned`. */
  giveBack(pending: Pending, error: NamedMasterError): void {
    this.drop(pending)
    this.#returned.push({
      seq: pending.seq,
      error,
      event: pending.kind === 'emit' ? pending.event.event : undefined,
      patch: pending.kind === 'mutate' ? pending.patch : undefined,
    })
  }

  takeReturned(): readonly Refusal[] {
    const returned = this.#returned
    this.#returned = []
    return returned
  }

  /** The changes that may leave as far as their content goes, in order: those that are not on their way. */
  #due(): readonly Pending[] {
    const from = this.#unsentFrom()
    let guessed: Guessed | undefined
    for (let i = from; i < this.#list.length; i++) {
      const pending = this.#list[i] as Pending
      if (pending.kind !== 'mutate') continue
      guessed = this.#guessed(i, guessed)
      if (overlaps(pending.writes, guessed.writes) || this.waits(pending)) return this.#list.slice(from, i)
    }
    return this.#list.slice(from)
  }

  #change(pending: Pending): void {
    if (this.#outbox === undefined) return
    this.#outbox.changed.set(pending.seq, pending)
    this.#measure(toKept(pending))
  }

  #measure(change: KeptChange): void {
    const size = JSON.stringify(change).length
    this.#characters += size - (this.#outbox?.sizes.get(change.seq) ?? 0)
    this.#outbox?.sizes.set(change.seq, size)
  }

  #leave(seq: number): void {
    if (this.#outbox === undefined) return
    this.#outbox.changed.delete(seq)
    this.#outbox.gone.push(seq)
    this.#characters -= this.#outbox.sizes.get(seq) ?? 0
    this.#outbox.sizes.delete(seq)
  }

  /** The index of the first change that is not on its way. */
  #unsentFrom(): number {
    let from = this.#list.length
    while (this.#list[from - 1]?.sent === false) from--
    return from
  }

  /** What own emits before this index only guessed; goes on from what is known of fewer. */
  #guessed(before: number, { count, writes }: Guessed = { count: 0, writes: emptyWrites }): Guessed {
    for (let i = count; i < before; i++) {
      const earlier = this.#list[i]
      if (earlier?.kind === 'emit' && earlier.shown !== undefined) writes = together(writes, earlier.shown.writes)
    }
    return { count: before, writes }
  }
}

const full = (what: string): NamedMasterError =>
  new NamedMasterError('outbox-full', `${what} wait for the master; wait for settled()`)

function toKept({ seq, id, at, ...pending }: Pending): KeptChange {
  if (pending.kind === 'mutate') return { seq, id, at, kind: 'mutate', patch: pending.patch, guards: pending.guards }
  const { event, payload } = pending.event
  return { seq, id, at, kind: 'emit', event, ...(payload === undefined ? {} : { payload }) }
}

function revived(change: KeptChange, left: boolean): Pending {
  const { seq, id, at } = change
  const pending = { seq, id, at, shown: undefined, sent: false, left }
  if (change.kind === 'mutate') {
    const { patch, guards } = change
    return { ...pending, kind: 'mutate', mutator: undefined, patch, guards, writes: emptyWrites, base: 0, stale: true }
  }
  const { event, payload } = change
  const made = { event, id, at, ...(payload === undefined ? {} : { payload }) }
  return { ...pending, kind: 'emit', event: made, idle: [] }
}

function toOutgoing(pending: Pending, prev: number): Outgoing {
  const { seq, id, at } = pending
  if (pending.kind === 'mutate') {
    const { base, patch } = pending
    return { command: 'mutate', id, at, payload: { seq, prev, base, patch: patch as UpPayload<'mutate'>['patch'] } }
  }
  const { event, payload } = pending.event
  return { command: 'emit', id, at, payload: { seq, prev, event, ...(payload === undefined ? {} : { payload }) } }
}
