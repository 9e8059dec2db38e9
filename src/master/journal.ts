/**
 * What a master keeps: its commits, its clients and how far each has come, its terms, the secret keys of its names.
 *
 * Promises: `append` resolves when the batch will survive what its durability says, and until then nothing of it may be
 * announced; a batch is there whole or not at all. The folder and the time to read it stay bounded: when the commits since
 * the last snapshot outgrow it, another is written beside them, while the master goes on, and what nobody needs is
 * deleted. A folder that does not hold together is an error, never a shorter history.
 */
import { openStorage, SYNCS, type Storage, type Write } from '#storage'
import { NamedMasterError } from '../errors.js'
import type { Log } from '../log.js'
import type { JsonValue } from '../protocol/json.js'
import type { LogEntry } from '../store/authority.js'
import { divide } from '../store/pieces.js'
import { keyOfPart, keyOfVersion, readKept, TABLES, toStored, type ClientRecord, type Kept } from './kept.js'
import { termsSince, type Term } from './terms.js'

/**
 * What a commit survives once it is acknowledged: the end of the process, or of the machine too. On the disk itself a batch
 * takes as long as the disk does; many commits share one.
 */
export type Durability = 'process' | 'disk'

export interface JournalBatch {
  readonly commits: readonly LogEntry[]
  readonly clients: readonly ClientRecord[]
  /** Numbers of clients that nobody has seen for long. */
  readonly forgotten: readonly number[]
}

export interface Journal {
  append(batch: JournalBatch): Promise<void>
  key(nameServer: string, name: string): Promise<string | undefined>
  keepKey(nameServer: string, name: string, key: string): Promise<void>
  /** Resolves when the snapshot that is being written has ended, and the folder is free. */
  close(): Promise<void>
}

/** The state at this moment, which nothing changes from now on (see Tree.pin), and the oldest version of the log. */
export interface Moment {
  readonly version: number
  readonly state: JsonValue | undefined
  readonly oldest: number
}

/** Characters of commits that are there before another snapshot is worth its while: a second to read, about. */
const MIN_CHARACTERS_BETWEEN_SNAPSHOTS = 8 * 1024 * 1024

export interface StoredJournalOptions {
  readonly durability: Durability
  readonly log: Log
}

/** The secret keys live, and everything ends, with the process. */
export class MemoryJournal implements Journal {
  readonly #keys = new Map<string, string>()

  async append(): Promise<void> {}

  async key(nameServer: string, name: string): Promise<string | undefined> {
    return this.#keys.get(keyOf(nameServer, name))
  }

  async keepKey(nameServer: string, name: string, key: string): Promise<void> {
    this.#keys.set(keyOf(nameServer, name), key)
  }

  async close(): Promise<void> {}
}

/**
 * @param data a folder; in a browser the name of a database
 * @throws storage-locked, storage-foreign, storage-newer, storage-damaged, storage-failed, invalid-config
 */
export async function openJournal(data: string, options: StoredJournalOptions): Promise<StoredJournal> {
  if (options.durability === 'disk' && !SYNCS) {
    const sentence = "A browser's database does not wait for the disk: use the durability 'process'"
    throw new NamedMasterError('invalid-config', sentence)
  }
  const storage = await openStorage(data, 'master')
  try {
    return await StoredJournal.open(storage, options)
  } catch (error) {
    await storage.close()
    throw error
  }
}

export class StoredJournal implements Journal {
  /** What was there when it was opened; undefined in a new folder. Let go of it with `begin`. */
  kept: Kept | undefined
  readonly #storage: Storage
  readonly #options: StoredJournalOptions
  readonly #sync: boolean
  #moment: (() => Moment) | undefined
  #written = 0
  /** The highest number that a client was given, also one that is forgotten: none is given twice. */
  #newestClient = 0
  /** Characters of commits since the snapshot, and those of the snapshot. */
  #characters = 0
  #snapshotCharacters = 0
  #snapshotting: Promise<void> | undefined
  /** Who waits for a batch to be written, or for the end. */
  readonly #waiting: (() => void)[] = []
  #closed = false

  private constructor(storage: Storage, options: StoredJournalOptions) {
    this.#storage = storage
    this.#options = options
    this.#sync = options.durability === 'disk'
  }

  /** Reads what is there. The storage is the journal's from now on. @throws storage-damaged, storage-failed */
  static async open(storage: Storage, options: StoredJournalOptions): Promise<StoredJournal> {
    const journal = new StoredJournal(storage, options)
    journal.kept = await readKept(storage)
    journal.#newestClient = journal.kept?.newestClient ?? 0
    return journal
  }

  /**
   * A life of the master begins: its term is written, and in a new folder the state.
   * @param moment the state as it is, asked for whenever there is to be a snapshot
   * @throws storage-failed
   */
  async begin(term: Term, moment: () => Moment): Promise<void> {
    const { kept } = this
    this.kept = undefined
    this.#moment = moment
    this.#written = term.from
    if (kept === undefined) {
      // What a life left that ended before it had begun.
      await this.#demand(this.#storage.clear(TABLES.terms, {}))
      await this.#demand(this.#snapshot(moment()))
    } else {
      this.#characters = kept.charactersSinceSnapshot
      this.#snapshotCharacters = kept.snapshotCharacters
    }
    const { lives, terms } = kept ?? { lives: 0, terms: [] }
    const needless = terms.length - termsSince(terms, moment().oldest).length
    const writes: Write[] = [{ table: TABLES.terms, key: keyOfVersion(lives), value: term }]
    for (let i = 0; i < needless; i++) writes.push({ table: TABLES.terms, key: keyOfVersion(lives - terms.length + i) })
    // To the disk whatever the durability: it is once in a life, and tells those who come back what is still so.
    await this.#demand(this.#storage.batch(writes, { sync: true }))
  }

  async append({ commits, clients, forgotten }: JournalBatch): Promise<void> {
    const writes: Write[] = []
    const seqs = new Map<number, number>()
    let characters = 0
    for (const entry of commits) {
      const { version, origin } = entry.commit
      writes.push({ table: TABLES.commits, key: keyOfVersion(version), value: toStored(entry) })
      if (origin !== undefined) seqs.set(origin.client, origin.seq)
      characters += entry.text.length
    }
    for (const record of clients) {
      writes.push({ table: TABLES.clients, key: keyOfVersion(record.client), value: record })
    }
    for (const [client, seq] of seqs) writes.push({ table: TABLES.seqs, key: keyOfVersion(client), value: seq })
    for (const client of forgotten) {
      writes.push(
        { table: TABLES.clients, key: keyOfVersion(client) },
        { table: TABLES.seqs, key: keyOfVersion(client) },
      )
    }
    const newest = Math.max(this.#newestClient, ...clients.map(({ client }) => client))
    if (newest > this.#newestClient) writes.push({ table: TABLES.meta, key: 'newest-client', value: newest })
    // Who is known, to the disk whatever the durability: a client that a power cut made unknown could not be told what it lost.
    await this.#storage.batch(writes, { sync: this.#sync || clients.length > 0 })
    this.#newestClient = newest
    this.#written = commits.at(-1)?.commit.version ?? this.#written
    this.#characters += characters
    for (const waiting of this.#waiting.splice(0)) waiting()
    this.#snapshotWhenDue()
  }

  async key(nameServer: string, name: string): Promise<string | undefined> {
    const key = await this.#storage.table(TABLES.keys).get(keyOf(nameServer, name))
    return typeof key === 'string' ? key : undefined
  }

  async keepKey(nameServer: string, name: string, key: string): Promise<void> {
    await this.#demand(this.#storage.table(TABLES.keys).put(keyOf(nameServer, name), key, { sync: true }))
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const waiting of this.#waiting.splice(0)) waiting()
    await this.#snapshotting
    // A log that lost its end to damage looks like one that a power cut made shorter, but for this.
    const write: Write = { table: TABLES.meta, key: 'closed', value: this.#written }
    if (this.#moment !== undefined) await this.#storage.batch([write], { sync: true }).catch(() => undefined)
    await this.#storage.close()
  }

  #snapshotWhenDue(): void {
    if (this.#snapshotting !== undefined || this.#closed || this.#moment === undefined) return
    if (this.#characters < Math.max(MIN_CHARACTERS_BETWEEN_SNAPSHOTS, this.#snapshotCharacters)) return
    this.#snapshotting = this.#snapshot(this.#moment())
      .catch((error: unknown) => {
        // The next life writes one.
        if (error instanceof Closed) return
        // Tried again when as much has come once more; the commits are all there.
        this.#characters = 0
        this.#options.log('warn', 'A snapshot could not be written to the data folder', { error })
      })
      .finally(() => (this.#snapshotting = undefined))
  }

  /** Piece by piece, and then that it is there; last of all, what it makes needless is deleted. */
  async #snapshot({ version, state, oldest }: Moment): Promise<void> {
    const since = this.#characters
    const table = TABLES.snapshots
    let parts = 0
    let characters = 0
    const write = async (value: unknown): Promise<void> => {
      if (this.#closed) throw new Closed()
      characters += JSON.stringify(value).length
      await this.#storage.batch([{ table, key: keyOfPart(version, parts++), value }], { sync: this.#sync })
    }
    const { skeleton, pieces } = state === undefined ? {} : divide(state)
    await write(skeleton === undefined ? {} : { state: skeleton })
    for (const piece of pieces ?? []) await write(piece)
    await this.#reached(version)
    const latest = { version, parts, characters }
    await this.#storage.batch([{ table: TABLES.meta, key: 'snapshot', value: latest }], { sync: this.#sync })
    this.#snapshotCharacters = characters
    this.#characters -= since
    await this.#storage.clear(table, { lt: keyOfPart(version, 0) })
    // Commits before the snapshot are for those who come back, as long as the log in memory has them too.
    await this.#storage.clear(TABLES.commits, { lte: keyOfVersion(Math.min(oldest, version)) })
  }

  async #reached(version: number): Promise<void> {
    while (this.#written < version && !this.#closed) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    if (this.#closed) throw new Closed()
  }

  async #demand(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (cause) {
      const sentence = 'The data folder cannot be written: check its disk and its permissions'
      throw new NamedMasterError('storage-failed', sentence, { cause })
    }
  }
}

/** A snapshot that is given up, because its master closes. */
class Closed extends Error {}

const keyOf = (nameServer: string, name: string): string => `${nameServer} ${name}`
