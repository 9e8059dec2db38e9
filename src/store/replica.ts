/**
 * The slave's half: the confirmed state, plus this client's own changes that are not answered yet, is the state shown.
 *
 * The life of a change: made (shown at once, `predict`) -> given out by `sendable` -> answered by its commit, or refused:
 * run again after a `conflict`, given back to the program after anything else.
 *
 * Promises: what is shown never goes back to an older value of an own change; listeners hear once per batch; a welcome is
 * not shown before its position is reached. It sends nothing, keeps no time, and takes messages that were parsed.
 */
import { NamedMasterError } from '../errors.js'
import { equalJson, type JsonValue } from '../protocol/json.js'
import type { Commit, CommittedEvent, Down, DownPayload, Position } from '../protocol/replication.js'
import { Events } from '../events.js'
import { conflicts, pathsOf } from './patch.js'
import type { Handlers } from './handlers.js'
import { PendingChanges, type Kept, type Outgoing, type Reach, type Refusal, type Unwritten } from './pending.js'
import { Showing } from './showing.js'
import { createTree, type Change, type Tree } from './tree.js'

export interface ReplicaEvents {
  changed: [change: { version: number; paths: readonly string[] }]
  /** A welcome's position was reached. `lost`: seqs that had been acknowledged and were taken back. */
  caughtUp: [how: { by: 'commits' | 'snapshot'; lost: readonly number[]; first: boolean }]
  /** Every change up to this seq is answered. */
  settled: [seq: number]
  refused: [refusal: Refusal]
}

/** What of the master's messages concerns the state. */
export type ReplicaMessage = Extract<Down, { command: 'welcome' | 'snapshot' | 'commit' | 'refused' }>

export interface ReplicaOptions {
  readonly handlers: Handlers
  /** Gets what a handler of somebody else's event threw. */
  readonly report: (error: unknown) => void
  readonly freeze?: boolean
  /** There is an outbox, and this was in it: what is changed has to be taken there (`unwritten`) before it leaves. */
  readonly kept?: Kept
  /** Throws when the program's changes cannot be taken now. */
  readonly admit?: () => void
}

export class Replica {
  readonly events: Events<ReplicaEvents>
  readonly #handlers: Handlers
  readonly #report: (error: unknown) => void
  readonly #mayChange: () => void
  readonly #tree: Tree

  /** Where the confirmed state stands; undefined before the first welcome was reached. */
  #position: Position | undefined
  /** False once a commit did not fit: then the next welcome has to bring another state. */
  #trusted = true
  /** A welcome whose position is not reached: its commits wait in `#ahead`, nothing of it is shown. */
  #catchingUp: DownPayload<'welcome'> | undefined
  /** A welcome has said that the master does not know us; later ones, and later links, do not say it again. */
  #unknownThere = false
  #snapshot: DownPayload<'snapshot'> | undefined
  #ahead: Commit[] = []
  /** Refusals whose version is not applied yet. */
  #refusals: DownPayload<'refused'>[] = []

  #client: number | undefined
  readonly #pending: PendingChanges
  readonly #showing: Showing
  #settledSeq: number
  /** Whether the next welcome is the first of its link. */
  #freshLink = false

  constructor(options: ReplicaOptions) {
    this.#handlers = options.handlers
    this.#report = options.report
    this.#mayChange = options.admit ?? (() => undefined)
    this.events = new Events<ReplicaEvents>(options.report)
    this.#pending = new PendingChanges(options.kept)
    this.#settledSeq = this.#pending.settledSeq
    this.#tree = createTree(undefined, options.freeze === undefined ? {} : { freeze: options.freeze })
    this.#showing = new Showing(this.#tree, this.#handlers, this.#pending, this)
  }

  /** The state shown. */
  get value(): JsonValue | undefined {
    return this.#tree.value
  }
  /** For `hello`: where commits may follow. */
  get position(): Position | undefined {
    return this.#trusted ? this.#position : undefined
  }
  /** Whether there is a state to show and to change. */
  get ready(): boolean {
    return this.#position !== undefined
  }
  get version(): number {
    return this.#position?.version ?? 0
  }
  get client(): number | undefined {
    return this.#client
  }
  /** Whether the state is the master's as of now, as far as this link has told. */
  get live(): boolean {
    return this.position !== undefined && this.#catchingUp === undefined && !this.#freshLink
  }
  /** Changes not answered yet. */
  get pending(): number {
    return this.#pending.size
  }
  /** The seq of the latest change made; settled when `events.settled` has said as much. */
  get latestSeq(): number {
    return this.#pending.latestSeq
  }
  get settledSeq(): number {
    return this.#settledSeq
  }

  /** An own emit: predicted, kept. Whoever calls has checked name and payload. */
  emit(event: CommittedEvent): void {
    this.#admit()
    const pending = this.#pending.emit(event)
    this.#showing.predict(pending, 'predict')
    if (pending.shown !== undefined) this.#tell(pathsOf(pending.shown.writes))
  }

  /** An own mutate: shown, kept. Throws what the mutator throws; then nothing has happened. */
  mutate(mutator: (state: unknown) => unknown, id: string, at: number): void {
    this.#admit()
    const shown = this.#showing.run(mutator)
    // Also what does nothing is on top of the stack of changes until it is taken back.
    if (shown.patch.length === 0) return shown.undo()
    const { writes } = shown
    this.#pending.mutate({ id, at, mutator, ...this.#showing.made(shown) })
    this.#tell(pathsOf(writes))
  }

  /** Somebody's volatile event, or our own. */
  volatile(event: CommittedEvent, client: number | undefined): void {
    const origin = client === undefined ? undefined : { client }
    this.#handlers.observe(() => this.#tree.begin(), event, { phase: 'volatile', origin }, this.#report)
  }

  /** A new link: its first welcome decides what is sent again; refusals of the old one are of no use. */
  relink(): void {
    this.#freshLink = true
    this.#catchingUp = undefined
    this.#snapshot = undefined
    this.#ahead = []
    this.#refusals = []
    this.#pending.relink()
  }

  /**
   * What came since the last call. Throws `invalid-message` when it cannot be (a gap, a patch that does not fit): then
   * the link is of no use, and `forget` makes the next hello ask for a snapshot.
   */
  receive(messages: readonly ReplicaMessage[]): void {
    for (const message of messages) {
      switch (message.command) {
        case 'welcome':
          this.#catchingUp = message.payload
          if (message.payload.lastSeq === undefined) this.#unknownThere = true
          this.#freshLink = false
          this.#client = message.payload.client
          this.#snapshot = undefined
          this.#ahead = []
          break
        case 'snapshot':
          this.#snapshot = message.payload
          this.#ahead = []
          break
        case 'commit':
          this.#ahead.push(message.payload)
          break
        case 'refused':
          this.#refusals.push(message.payload)
      }
    }
    if (this.#catchingUp === undefined) this.#advance()
    else if (this.#reaches(this.#catchingUp)) this.#catchUp(this.#catchingUp)
  }

  /** The confirmed state is not to be trusted: the next welcome brings another. Until then it is shown. */
  forget(): void {
    this.#trusted = false
  }

  /** The changes that may leave now, marked as sent: see PendingChanges. */
  sendable(): Outgoing[] {
    return this.live ? this.#pending.sendable() : []
  }

  /** What the outbox has not been given yet, and that it has it now: see PendingChanges. `linked`: there is a link. */
  unwritten(linked: boolean): Unwritten | undefined {
    return this.#pending.unwritten(linked && this.live)
  }
  written(reach: Reach): void {
    this.#pending.written(reach)
  }

  /**
   * Takes a change back that `sendable` gave out and that cannot be sent (too large, say), and tells the program. What
   * follows it is given out again.
   */
  reject(seq: number, error: NamedMasterError): void {
    const pending = this.#pending.find(seq)
    if (pending === undefined) return
    this.#pending.resendFrom(pending)
    this.#rebuild(() => this.#pending.giveBack(pending, error))
  }

  /** Gives all that is not answered back to the program. */
  abandon(error: NamedMasterError): void {
    if (this.#pending.size === 0) return
    this.#rebuild(() => {
      for (const pending of this.#pending.all) this.#pending.giveBack(pending, error)
    })
  }

  #admit(): void {
    if (this.#position === undefined) {
      throw new NamedMasterError(
        'not-connected',
        'Nothing can be changed before the first state has come: await connect()',
      )
    }
    if (this.#handlers.busy) {
      throw new NamedMasterError('store-busy', 'The store cannot be changed inside a handler or a mutator')
    }
    this.#mayChange()
    this.#pending.admit()
  }

  #reaches(welcome: DownPayload<'welcome'>): boolean {
    const from = welcome.by === 'snapshot' ? this.#snapshot?.version : this.position?.version
    if (from === undefined) {
      if (welcome.by === 'commits') throw impossible('commits were sent to a replica that has no state')
      return false
    }
    const reached = this.#ahead.at(-1)?.version ?? from
    return reached >= welcome.position.version
  }

  #catchUp(welcome: DownPayload<'welcome'>): void {
    const first = this.#position === undefined
    const { by, lastSeq = 0 } = welcome
    // Before the commits: what came after the welcome's position may answer more.
    const lost = this.#pending.welcome(welcome.lastSeq)
    this.#catchingUp = undefined
    this.#trusted = true
    this.#rebuild((paths) => {
      if (this.#snapshot !== undefined) {
        this.#tree.reset(this.#snapshot.state)
        this.#position = { term: welcome.position.term, version: this.#snapshot.version }
        for (const pending of this.#pending.all) if (pending.kind === 'mutate') pending.stale = true
        this.#snapshot = undefined
        paths.add('')
      }
      // The snapshot may be older than what was heard before: after a reset, events are told from P on.
      this.#applyAhead(paths, by === 'commits')
      this.#position = { term: welcome.position.term, version: this.version }
      if (this.#unknownThere) this.#forgotten()
      for (const { seq } of this.#pending.all) if (seq <= lastSeq) this.#pending.committed(seq)
    })
    this.events.emit('caughtUp', { by, lost, first })
  }

  /** The master does not know this client: what it may or may not have taken goes back to the program. */
  #forgotten(): void {
    this.#unknownThere = false
    const error = new NamedMasterError(
      'unknown-outcome',
      'The master no longer knows this slave and may or may not have taken this change',
    )
    for (const pending of this.#pending.all) if (pending.left) this.#pending.giveBack(pending, error)
  }

  #advance(): void {
    if (this.#ahead.length === 0 && this.#refusals.length === 0) return
    if (this.position === undefined) throw impossible('commits came before a welcome')
    const confirmed = this.#confirm()
    const waiting = confirmed && this.#pending.mutateWaits
    if (this.#ahead.length > 0 || this.#due().length > 0 || waiting) this.#rebuild((paths) => this.#applyAhead(paths))
    else this.#tellSettled()
  }

  /**
   * The common case, without a rebuild: the next commits are our own oldest changes, just as they were predicted. What is
   * shown already becomes confirmed.
   */
  #confirm(): boolean {
    let taken = 0
    for (const commit of this.#ahead) {
      const pending = this.#pending.first
      if (commit.version !== this.version + 1 || commit.origin === undefined) break
      if (commit.origin.client !== this.#client || commit.origin.seq !== pending?.seq) break
      if (!equalJson(pending.shown?.patch ?? [], commit.patch)) break
      this.#pending.committed(pending.seq)
      this.#moveTo(commit.version)
      taken++
    }
    this.#ahead.splice(0, taken)
    return taken > 0
  }

  /**
   * Takes the pending changes off, lets `change` alter the confirmed state and the list of pending ones, puts on again
   * what remains, and tells listeners once.
   */
  #rebuild(change: (paths: Set<string>) => void): void {
    const paths = new Set<string>()
    this.#showing.takeOff(paths)
    try {
      change(paths)
    } finally {
      this.#takeRefusals()
      this.#showing.again(paths)
      this.#tell([...paths])
      this.#tellSettled()
    }
  }

  /** Applies the commits that came to the confirmed state, and adds the paths they wrote; tells handlers of others' events. */
  #applyAhead(paths: Set<string>, telling = true): void {
    const mutates = this.#pending.hasMutate
    let run: Commit[] = []
    const applyRun = (): void => {
      const commits = run
      run = []
      if (commits.length > 0) this.#applyTogether(commits, paths, telling)
    }
    for (const commit of this.#ahead.splice(0)) {
      const expected = this.version + run.length + 1
      if (commit.version < expected) continue
      if (commit.version > expected) {
        applyRun()
        throw impossible(`version ${commit.version} came after ${this.version}`)
      }
      run.push(commit)
      if (mutates || (telling && this.#isHeard(commit))) applyRun()
    }
    applyRun()
  }

  /** Whether a handler is to see the state as it is right after this commit. */
  #isHeard(commit: Commit): boolean {
    return !this.#isOwn(commit) && commit.events.some((event) => !this.#handlers.rests(event, []))
  }

  #isOwn({ origin }: Commit): boolean {
    return origin !== undefined && origin.client === this.#client
  }

  /** Commits between which nobody looks at the state are one transaction. */
  #applyTogether(commits: readonly Commit[], paths: Set<string>, telling: boolean): void {
    const transaction = this.#tree.begin()
    if (!commits.every(({ patch }) => transaction.apply(patch))) {
      transaction.rollback()
      if (commits.length === 1) throw impossible(`the patch of version ${this.version + 1} does not fit`)
      // Those before the one that does not fit are taken.
      for (const commit of commits) this.#applyTogether([commit], paths, telling)
      return
    }
    const { writes } = transaction.finish()
    for (const path of pathsOf(writes)) paths.add(path)
    for (const commit of commits) {
      this.#moveTo(commit.version)
      const seq = this.#isOwn(commit) ? commit.origin?.seq : undefined
      // A client's own mutates never conflict with each other: the later was made on the earlier.
      if (seq === undefined || this.#pending.find(seq)?.kind !== 'mutate') this.#markStale(writes)
      if (seq !== undefined) this.#pending.committed(seq)
      else if (telling) this.#observe(commit)
    }
  }

  /** Pending mutates that a commit conflicts with: they will be refused. */
  #markStale(writes: Change['writes']): void {
    for (const pending of this.#pending.all) {
      if (pending.kind === 'mutate' && !pending.stale) pending.stale = conflicts(pending.writes, writes)
    }
  }

  #observe(commit: Commit): void {
    const run = { phase: 'commit', origin: commit.origin } as const
    for (const event of commit.events) {
      this.#handlers.observe(() => this.#tree.begin(), event, run, this.#report)
    }
  }

  #due(): DownPayload<'refused'>[] {
    return this.#refusals.filter(({ version }) => version <= this.version)
  }

  /** A refused change is run again (after a conflict) or given back; what was built on it is sent again. */
  #takeRefusals(): void {
    const due = this.#due()
    this.#refusals = this.#refusals.filter((refusal) => !due.includes(refusal))
    for (const refusal of due) {
      const pending = this.#pending.find(refusal.seq)
      if (pending === undefined) continue
      this.#pending.resendFrom(pending)
      if (pending.kind === 'mutate' && refusal.code === 'conflict') pending.stale = true
      else this.#pending.giveBack(pending, NamedMasterError.fromFault(refusal))
    }
  }

  #moveTo(version: number): void {
    if (this.#position !== undefined) this.#position = { ...this.#position, version }
  }

  #tell(paths: readonly string[]): void {
    if (paths.length > 0) this.events.emit('changed', { version: this.version, paths })
  }

  /** Programs are told when the state is whole again, never in the middle of a rebuild. */
  #tellSettled(): void {
    for (const refusal of this.#pending.takeReturned()) this.events.emit('refused', refusal)
    const settled = this.#pending.settledSeq
    if (settled === this.#settledSeq) return
    this.#settledSeq = settled
    this.events.emit('settled', settled)
  }
}

const impossible = (what: string): NamedMasterError =>
  new NamedMasterError('invalid-message', `The master sent what cannot be: ${what}`)
