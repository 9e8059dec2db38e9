/**
 * Where a slave's changes outlive its process: the client secret, how far the client has come, and its changes that are not
 * answered, under a name server and a name. An emit is kept with its payload, a mutate as its patch and what that wrote over.
 *
 * Promises: one batch at a time, each written whole or not at all: what a turn made, or what was made while the last was
 * written. A batch that failed is tried again until it is written; meanwhile the program's changes are refused. It
 * survives the end of the process, not a power cut: then the latest changes may be gone, and none is applied twice.
 */
import type { Storage, Write } from '#storage'
import type { Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import type { Log } from '../log.js'
import { newSecret } from '../signal/secret.js'
import type { Kept, KeptChange, Reach, Unwritten } from '../store/pending.js'

/** Between two tries to write a batch that failed, in milliseconds: as a master does. */
const RETRY_MS = 1000
/** Digits of a seq in a key: as many as the largest integer has. */
const SEQ_DIGITS = 16

const CLIENTS = 'clients'
const CHANGES = 'changes'

/** Under what a slave's changes are kept. */
export interface Address {
  readonly nameServer: string
  readonly name: string
}

interface ClientRecord extends Reach {
  readonly secret: string
  /** The latest session it was welcomed in: so the master knows that this client has heard of it. */
  readonly session?: string
}

/** Whose changes they are: it says what is to be written, and hears that it is. */
export interface Source {
  unwritten(): Unwritten | undefined
  session(): string | undefined
  written(reach: Reach): void
}

export interface OutboxOptions {
  readonly clock: Clock
  readonly log: Log
}

export class Outbox {
  /** What makes this client the same to its master in every life. */
  readonly secret: string
  /** What an earlier life left. */
  readonly kept: Kept
  readonly session: string | undefined
  readonly #storage: Storage
  readonly #key: string
  readonly #options: OutboxOptions
  #source: Source | undefined
  #telling: (() => void)[] = []
  #writing = false
  #written: Promise<void> = Promise.resolve()
  #failing = false
  #closing: Promise<void> | undefined
  /** Ends the pause before the next try. */
  #tryNow: () => void = () => undefined

  private constructor(storage: Storage, key: string, client: ClientRecord, kept: Kept, options: OutboxOptions) {
    this.#storage = storage
    this.#key = key
    this.secret = client.secret
    this.session = client.session
    this.kept = kept
    this.#options = options
  }

  /** The storage is the outbox's from now on, also when this fails. @throws storage-failed, storage-damaged */
  static async open(storage: Storage, address: Address, options: OutboxOptions): Promise<Outbox> {
    const key = keyOf(address)
    try {
      const known = (await storage.table(CLIENTS).get(key)) as ClientRecord | undefined
      const client: ClientRecord = known ?? { secret: newSecret(), highest: 0, left: 0 }
      // Before anybody hears of it.
      if (known === undefined) await storage.table(CLIENTS).put(key, client, { sync: false })
      const changes: KeptChange[] = []
      for await (const [, change] of storage.table(CHANGES).iterator(changesOf(key))) changes.push(change as KeptChange)
      const { highest, left } = client
      return new Outbox(storage, key, client, { highest, left, changes }, options)
    } catch (error) {
      await storage.close()
      throw NamedMasterError.from(error, 'storage-failed', 'The outbox cannot be read or written: check its storage')
    }
  }

  /** Whether a storage has changes for this address. */
  static async waits(storage: Storage, address: Address): Promise<boolean> {
    for await (const _ of storage.table(CHANGES).iterator({ ...changesOf(keyOf(address)), limit: 1 })) return true
    return false
  }

  /** Whether it was ever used, for any address. */
  static async used(storage: Storage): Promise<boolean> {
    for await (const _ of storage.table(CLIENTS).iterator({ limit: 1 })) return true
    return false
  }

  serve(source: Source): void {
    this.#source = source
  }

  /** @throws NamedMasterError `storage-full` while it cannot be written, `not-connected` once it is closed */
  admit(): void {
    if (this.#closing !== undefined) {
      const sentence = 'Changes are kept in the outbox, which is closed: await connect() first'
      throw new NamedMasterError('not-connected', sentence)
    }
    if (this.#failing) {
      const sentence = 'The outbox cannot be written at present: make room on the disk, or try later'
      throw new NamedMasterError('storage-full', sentence)
    }
  }

  /** Begins to write what there is. */
  write(): void {
    if (this.#writing || !this.#storage.open) return
    this.#writing = true
    this.#written = this.#drain()
  }

  /** Runs `tell` when what there is to write by now is written. Asks for nothing to be written. */
  after(tell: () => void): void {
    this.#telling.push(tell)
  }

  /** Lets go of the storage once all is written, or cannot be. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    this.write()
    this.#tryNow()
    await this.#written
    await this.#storage.close()
  }

  async #drain(): Promise<void> {
    for (;;) {
      const batch = this.#source?.unwritten()
      const telling = this.#telling.splice(0)
      if (batch === undefined && telling.length === 0) break
      if (batch !== undefined) {
        if (!(await this.#store(batch))) return
        this.#source?.written(batch)
      }
      for (const tell of telling) tell()
    }
    this.#writing = false
  }

  /** Tries until it succeeds; false when the outbox is closed meanwhile. */
  async #store(batch: Unwritten): Promise<boolean> {
    const { clock, log } = this.#options
    for (;;) {
      try {
        await this.#storage.batch(this.#writesOf(batch), { sync: false })
        if (this.#failing) log('info', 'The outbox can be written again')
        this.#failing = false
        return true
      } catch (error) {
        if (!this.#failing) log('error', 'The outbox cannot be written; changes are refused until it can', { error })
        this.#failing = true
        if (this.#closing !== undefined) return false
        await new Promise<void>((resolve) => {
          const timer = clock.setTimeout(resolve, RETRY_MS)
          this.#tryNow = () => {
            clock.clearTimeout(timer)
            resolve()
          }
        })
      }
    }
  }

  #writesOf({ highest, left, changes, gone }: Unwritten): Write[] {
    const session = this.#source?.session()
    const client: ClientRecord = { secret: this.secret, highest, left, ...(session === undefined ? {} : { session }) }
    return [
      { table: CLIENTS, key: this.#key, value: client },
      ...changes.map((change) => ({ table: CHANGES, key: keyOfChange(this.#key, change.seq), value: change })),
      ...gone.map((seq) => ({ table: CHANGES, key: keyOfChange(this.#key, seq) })),
    ]
  }
}

/** Neither has a space in it. */
const keyOf = ({ nameServer, name }: Address): string => `${nameServer} ${name}`
const keyOfChange = (key: string, seq: number): string => `${key} ${String(seq).padStart(SEQ_DIGITS, '0')}`
const changesOf = (key: string): { gte: string; lt: string } => ({ gte: `${key} 0`, lt: `${key} :` })
