/**
 * What a master keeps: its commits, its clients' counters, the secret keys of its names.
 *
 * Promises: `append` resolves when the batch will survive what its durability says; until then nothing of it is
 * announced. Keys are on disk as soon as `keepKey` resolves. For now the commits of both kinds live in memory only.
 */
import type { Level } from 'level'
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

/** Without `data`: gone with the process. */
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

const keyOf = (nameServer: string, name: string): string => `key:${nameServer}:${name}`
