/**
 * What may leave the master: nothing that is not written. It hands commits to the journal in batches, and keeps the one
 * snapshot that all who join share.
 *
 * Promises: everything that was applied is written in order; a failed batch is tried again until it is written, and
 * meanwhile `admit` refuses further changes; an action given to `after` runs once all that had been applied when it was
 * given is written.
 */
import type { Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import type { Log } from '../log.js'
import type { Authority, LogEntry } from '../store/authority.js'
import type { StoreCore } from '../store/store.js'
import type { JournalBatch } from './journal.js'
import type { ClientRecord } from './kept.js'
import { Snapshot, type Deflate } from './snapshot.js'

/** Between two tries to write a batch that failed: a full disk is looked at often enough, and not hammered. */
const RETRY_MS = 1000

export interface PublicationOptions {
  /** The journal's. */
  readonly append: (batch: JournalBatch) => Promise<void>
  readonly deflate: Deflate
  readonly clock: Clock
  readonly log: Log
  /** After each batch: what waited for it may go. */
  readonly written: () => void
}

export class Publication {
  /** All commits up to this version may be sent. */
  written: number
  readonly #options: PublicationOptions
  readonly #authority: Authority
  readonly #core: StoreCore
  #commits: LogEntry[] = []
  #clients = new Map<number, ClientRecord>()
  #forgotten: number[] = []
  #actions: { readonly ticket: number; readonly act: () => void }[] = []
  /** How many commits and records were given to be written, and how many of them are. */
  #given = 0
  #done = 0
  #snapshot: Snapshot | undefined
  #writing = false
  /** While actions run: what they ask for comes after them. */
  #releasing = false
  #failing = false
  #closed = false
  #retry: unknown
  #idle: (() => void)[] = []

  constructor(core: StoreCore, authority: Authority, options: PublicationOptions) {
    this.#core = core
    this.#authority = authority
    this.#options = options
    this.written = authority.version
  }

  /** Throws while the journal cannot be written. */
  admit(): void {
    if (this.#failing)
      throw new NamedMasterError('storage-full', 'The master cannot write its journal at present: try later')
  }
  get failing(): boolean {
    return this.#failing
  }

  commit(entry: LogEntry): void {
    this.#given++
    this.#commits.push(entry)
    this.#write()
  }

  /** A client's record: written with the next batch, which is made for it when there is none. */
  client(record: ClientRecord): void {
    this.#given++
    this.#clients.set(record.client, record)
    this.#write()
  }

  /** This client is to be forgotten, with the next batch. */
  forget(client: number): void {
    this.#clients.delete(client)
    this.#forgotten.push(client)
    this.#write()
  }

  /** What the journal kept is the state: nothing before it counts. */
  restored(): void {
    this.written = this.#authority.version
  }

  /** Runs `act` when all that is applied by now is written: at once when it is, and nothing waits before it. */
  after(act: () => void): void {
    this.#actions.push({ ticket: this.#given, act })
    if (!this.#releasing) this.#runActions()
  }

  /** The snapshot to join with: the latest one, unless the commits since then are more than it is itself. */
  snapshot(): Snapshot {
    const latest = this.#snapshot
    const authority = this.#authority
    if (latest !== undefined && !latest.failed && latest.version >= authority.oldest) {
      const { version, complete, characters } = latest
      if (version === authority.version || !complete || authority.charactersSince(version) < characters) return latest
    }
    // The one before is made to its end, for those who are being sent it.
    const snapshot = new Snapshot(authority.version, this.#core.pin(), this.#options.deflate, this.#options.log)
    // Whoever is sent it is sent the commits since then, too: the log keeps as much as the snapshot has.
    authority.keep(snapshot.characters)
    snapshot.events.on('grown', () => {
      if (snapshot === this.#snapshot) authority.keep(snapshot.characters)
    })
    return (this.#snapshot = snapshot)
  }

  /** The size a slave that fell behind is compared with; undefined before anybody needed a snapshot. */
  get snapshotCharacters(): number | undefined {
    return this.#snapshot?.complete === true ? this.#snapshot.characters : undefined
  }

  /** Resolves when all is written, or cannot be. */
  async close(): Promise<void> {
    this.#closed = true
    this.#snapshot?.cancel()
    if (this.#writing && !this.#failing) await new Promise<void>((resolve) => void this.#idle.push(resolve))
    this.#options.clock.clearTimeout(this.#retry)
  }

  #write(): void {
    if (this.#writing) return
    this.#writing = true
    void this.#drain()
  }

  async #drain(): Promise<void> {
    while (this.#commits.length > 0 || this.#clients.size > 0 || this.#forgotten.length > 0) {
      const batch = { commits: this.#commits, clients: [...this.#clients.values()], forgotten: this.#forgotten }
      const given = this.#given
      this.#commits = []
      this.#clients = new Map()
      this.#forgotten = []
      if (!(await this.#append(batch))) return
      this.written = batch.commits.at(-1)?.commit.version ?? this.written
      this.#done = given
      this.#release()
    }
    this.#writing = false
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Tries until it succeeds; false when the master closes meanwhile. */
  async #append(batch: JournalBatch): Promise<boolean> {
    for (;;) {
      try {
        await this.#options.append(batch)
        if (this.#failing) this.#options.log('info', 'The journal can be written again')
        this.#failing = false
        return true
      } catch (error) {
        if (!this.#failing)
          this.#options.log('error', 'The journal cannot be written; changes are refused until it can', { error })
        this.#failing = true
        for (const resolve of this.#idle.splice(0)) resolve()
        if (this.#closed) return false
        await new Promise<void>((resolve) => (this.#retry = this.#options.clock.setTimeout(resolve, RETRY_MS)))
      }
    }
  }

  #release(): void {
    this.#releasing = true
    this.#options.written()
    this.#runActions()
  }

  /** In order; those that others ask for meanwhile, too. */
  #runActions(): void {
    this.#releasing = true
    try {
      for (let next = this.#actions[0]; next !== undefined && next.ticket <= this.#done; next = this.#actions[0]) {
        this.#actions.shift()
        next.act()
      }
    } finally {
      this.#releasing = false
    }
  }
}
