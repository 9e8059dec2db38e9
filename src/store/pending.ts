/**
 * A client's own changes, from the program to their answer: in their order, with what has to be said of each.
 *
 * The life of a change: added -> given out by `sendable` -> answered by its commit, or refused: run again after a
 * `conflict`, given back to the program after anything else. What a change does to the state shown is the replica's part.
 */
import { NamedMasterError } from '../errors.js'
import type { CommittedEvent, Patch, UpPayload } from '../protocol/replication.js'
import type { IdleRuns } from './handlers.js'
import { emptyWrites, overlaps, together, type Writes } from './patch.js'
import type { Change } from './tree.js'

/** Changes that may wait for their answer: at a thousand a second, ten seconds without a master. */
export const MAX_PENDING_CHANGES = 10_000

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
  readonly mutator: (state: unknown) => unknown
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
    if (this.#list.length < MAX_PENDING_CHANGES) return
    throw new NamedMasterError('outbox-full', `${MAX_PENDING_CHANGES} changes wait for the master; wait for settled()`)
  }

  emit(event: CommittedEvent): PendingEmit {
    const { id, at } = event
    const seq = this.#nextSeq++
    const made: PendingEmit = { kind: 'emit', seq, id, at, event, idle: [], shown: undefined, sent: false, left: false }
    this.#list.push(made)
    return made
  }

  mutate(made: Pick<PendingMutate, 'id' | 'at' | 'mutator' | 'base' | 'shown' | 'patch' | 'writes'>): void {
    this.#list.push({ kind: 'mutate', seq: this.#nextSeq++, ...made, sent: false, left: false, stale: false })
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
    const from = this.#unsentFrom()
    let prev = this.#list[from - 1]?.seq ?? this.#lastSeq
    let guessed: Guessed | undefined
    for (let i = from; i < this.#list.length; i++) {
      const pending = this.#list[i] as Pending
      if (pending.kind === 'mutate') {
        guessed = this.#guessed(i, guessed)
        if (overlaps(pending.writes, guessed.writes)) break
      }
      outgoing.push(toOutgoing(pending, prev))
      pending.sent = true
      prev = pending.seq
    }
    return outgoing
  }

  /** Whether a mutate writes what an own emit before it only guessed. */
  guesses(pending: PendingMutate): boolean {
    return overlaps(pending.writes, this.#guessed(this.#list.indexOf(pending)).writes)
  }

  /** A welcome: what is answered up to there. Answers the seqs that had been acknowledged and were taken back. */
  welcome(lastSeq: number | undefined): readonly number[] {
    const known = this.#acknowledged
    this.#lastSeq = lastSeq ?? 0
    this.#acknowledged = lastSeq === undefined ? [] : known.filter((seq) => seq <= lastSeq)
    return lastSeq === undefined ? [] : known.filter((seq) => seq > lastSeq)
  }

  /** The master has committed it, whether or not we still have it. */
  committed(seq: number): void {
    const at = this.#list.findIndex((pending) => pending.seq === seq)
    if (at === 0) this.#list.shift()
    else if (at > 0) this.#list.splice(at, 1)
    this.#lastSeq = Math.max(this.#lastSeq, seq)
    this.#acknowledged.push(seq)
    if (this.#acknowledged.length > MAX_ACKNOWLEDGED_SEQS) this.#acknowledged.shift()
  }

  /** It has nothing left to do, and is settled unsent. */
  drop(pending: Pending): void {
    this.#list = this.#list.filter((other) => other !== pending)
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

function toOutgoing(pending: Pending, prev: number): Outgoing {
  const { seq, id, at } = pending
  if (pending.kind === 'mutate') {
    const { base, patch } = pending
    return { command: 'mutate', id, at, payload: { seq, prev, base, patch: patch as UpPayload<'mutate'>['patch'] } }
  }
  const { event, payload } = pending.event
  return { command: 'emit', id, at, payload: { seq, prev, event, ...(payload === undefined ? {} : { payload }) } }
}
