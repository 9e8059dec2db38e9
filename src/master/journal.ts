/**
 * What a master keeps: its commits, its clients' counters, the secret keys of its names.
 *
 * Promises: `append` resolves when the batch will survive what its durability says; until then nothing of it is
 * announced. Keys are on disk when `keepKey` resolves. For now commits and counters live in memory only.
 */
import { openStorage, type Storage } from '#storage'
import { NamedMasterError } from '../errors.js'
import type { LogEntry } from '../store/authority.js'

export interface ClientRecord {
  readonly client: number
  /** SHA-256 of the client's secret. */
  readonly hash: string
  readonly lastSeq: number
}

export interface JournalBatch {
  readonly commits: readonly LogEntry[]
  readonly clients: readonly ClientRecord[]
}

export interface Journal {
  append(batch: JournalBatch): Promise<void>
  key(nameServer: string, name: string): Promise<string | undefined>
  keepKey(nameServer: string, name: string, key: string): Promise<void>
  close(): Promise<void>
}

/**
 * @param data a folder (in a browser the name of a database), or undefined: all is gone with the process
 * @throws storage-locked, storage-failed
 */
export async function openJournal(data: string | undefined): Promise<Journal> {
  return data === undefined ? new MemoryJournal() : new StoredJournal(await openStorage(data))
}

class MemoryJournal implements Journal {
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

class StoredJournal implements Journal {
  readonly #storage: Storage

  constructor(storage: Storage) {
    this.#storage = storage
  }

  async append(): Promise<void> {}

  async key(nameServer: string, name: string): Promise<string | undefined> {
    const key = await this.#storage.table('keys').get(keyOf(nameServer, name))
    return typeof key === 'string' ? key : undefined
  }

  async keepKey(nameServer: string, name: string, key: string): Promise<void> {
    try {
      await this.#storage.table('keys').put(keyOf(nameServer, name), key, { sync: true })
    } catch (cause) {
      throw new NamedMasterError('storage-failed', 'The key could not be written: check the disk of the data folder', {
        cause,
      })
    }
  }

  close(): Promise<void> {
    return this.#storage.close()
  }
}

const keyOf = (nameServer: string, name: string): string => `${nameServer} ${name}`
