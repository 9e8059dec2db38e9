/**
 * Who owns a name: a hash of its key, and how often it was claimed (seed document 2; docs/PROTOCOL.md, "Names").
 *
 * Promises: the key itself is never kept and never logged, and is compared in constant time; of many claims of a free
 * name exactly one is `registered`; a claim counter never goes back; what was answered is on the disk, except a new
 * name that waits for its `confirm`; a database that fails is an error and never "the name is free".
 * Where a name is now is not known here: see whereabouts.ts.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import * as v from 'valibot'
import { systemClock, type Clock } from '../src/clock.js'
import { NamedMasterError } from '../src/errors.js'
import { Counter, Timestamp } from '../src/protocol/envelope.js'
import { Secret, type ResultOf } from '../src/protocol/naming.js'
import { PROVISIONAL_MS } from './limits.js'
import type { Table } from '#storage'

/** Bytes of a key: 256 bits cannot be guessed, so a plain SHA-256 keeps them. */
const KEY_BYTES = 32

/** Above it a renewed claim is no counter but an accident; leaves room for 2^52 more before numbers stop being exact. */
const MAX_RENEWED_CLAIM = 2 ** 52

const Stored = v.object({ hash: Secret, claim: Counter, registered: Timestamp })
type Stored = v.InferOutput<typeof Stored>

/** Registered in memory only: the master has not yet said that the key is on its disk. */
interface Provisional extends Stored {
  readonly attempt: string
  readonly timer: unknown
}

export interface NameEntry {
  readonly name: string
  readonly claim: number
  /** Milliseconds since 1970. */
  readonly registered: number
}

export interface NamesOptions {
  readonly clock?: Clock
  /** That many random bytes. */
  readonly random?: (bytes: number) => Uint8Array
  /** A provisional name was not confirmed and is free again. */
  readonly expired?: (name: string, claim: number) => void
}

export class Names {
  readonly #table: Table<unknown>
  readonly #clock: Clock
  readonly #random: (bytes: number) => Uint8Array
  readonly #expired: (name: string, claim: number) => void
  readonly #provisional = new Map<string, Provisional>()
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(table: Table<unknown>, options: NamesOptions = {}) {
    this.#table = table
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? randomBytes
    this.#expired = options.expired ?? (() => undefined)
  }

  /**
   * `startServer`. An unknown name is registered: with the given key (a name server that lost its data is refilled by
   * its masters), else with a new one, provisionally.
   * @param mayRegister is asked before a name is registered, and throws when it may not be
   * @throws incorrect-key, storage-failed, what mayRegister throws
   */
  claim(
    request: { readonly name: string; readonly key?: string; readonly attempt: string },
    mayRegister: () => void,
  ): Promise<ResultOf<'startServer'>> {
    const { name, key, attempt } = request
    return this.#inTurn(name, async () => {
      const known = await this.#find(name)
      if (known === undefined) {
        if (key !== undefined && !v.is(Secret, key)) throw malformedKey(name)
        mayRegister()
        if (key === undefined) return this.#registerProvisionally(name, attempt)
        await this.#write(name, { hash: hash(key), claim: 1, registered: Date.now() })
        return { answer: 'registered', key, claim: 1 }
      }
      if (key === undefined) {
        // The answer to this very attempt may have been lost, and its key with it.
        const waiting = this.#provisional.get(name)
        return waiting !== undefined && sameHash(waiting.attempt, hash(attempt))
          ? this.#registerProvisionally(name, attempt)
          : { answer: 'exists' }
      }
      demandKey(name, known, key)
      const claim = known.claim + 1
      await this.#write(name, { ...known, claim })
      return { answer: 'started', claim }
    })
  }

  /**
   * The key is on the master's disk; the name is kept for good. Idempotent.
   * @throws not-registered, incorrect-key, storage-failed
   */
  confirm(name: string, key: string): Promise<void> {
    return this.#inTurn(name, async () => {
      const known = await this.#demand(name, key)
      if (this.#provisional.has(name)) await this.#write(name, known)
    })
  }

  /**
   * After a lost socket. The newest claim has the name, also when this name server lost its data or was put back to a
   * copy that does not know it.
   * @throws incorrect-key, invalid-message, storage-failed, what mayRegister throws
   */
  renew(name: string, key: string, claim: number, mayRegister: () => void): Promise<ResultOf<'renew'>> {
    return this.#inTurn(name, async () => {
      if (claim < 1 || claim > MAX_RENEWED_CLAIM) {
        throw new NamedMasterError(
          'invalid-message',
          `${claim} is no claim: renew with the claim that startServer answered`,
        )
      }
      const known = await this.#find(name)
      if (known === undefined) {
        mayRegister()
        await this.#write(name, { hash: hash(key), claim, registered: Date.now() })
        return { answer: 'renewed', claim }
      }
      demandKey(name, known, key)
      if (claim < known.claim) return { answer: 'evicted', claim: known.claim }
      if (claim > known.claim) await this.#write(name, { ...known, claim })
      return { answer: 'renewed', claim }
    })
  }

  /** @throws not-registered, incorrect-key, storage-failed */
  async check(name: string, key: string): Promise<void> {
    await this.#inTurn(name, () => this.#demand(name, key))
  }

  /** @throws storage-failed */
  async known(name: string): Promise<boolean> {
    return (await this.#find(name)) !== undefined
  }

  /** The confirmed names in order. @throws storage-failed */
  async list(): Promise<NameEntry[]> {
    const entries: NameEntry[] = []
    try {
      for await (const [name, value] of this.#table.iterator()) {
        const { claim, registered } = v.parse(Stored, value)
        entries.push({ name, claim, registered })
      }
    } catch (cause) {
      throw storageFailed(cause)
    }
    return entries
  }

  /** For an operator, when a key is lost: the name is free again. False when it was not registered. @throws storage-failed */
  delete(name: string): Promise<boolean> {
    return this.#inTurn(name, async () => {
      if ((await this.#find(name)) === undefined) return false
      this.#forgetProvisional(name)
      await this.#table.del(name, { sync: true }).catch((cause: unknown) => Promise.reject(storageFailed(cause)))
      return true
    })
  }

  #registerProvisionally(name: string, attempt: string): ResultOf<'startServer'> {
    this.#forgetProvisional(name)
    const key = Buffer.from(this.#random(KEY_BYTES)).toString('base64url')
    const claim = 1
    const timer = this.#clock.setTimeout(() => this.#expire(name, claim), PROVISIONAL_MS)
    this.#provisional.set(name, {
      hash: hash(key),
      claim,
      registered: Date.now(),
      attempt: hash(attempt),
      timer,
    })
    return { answer: 'registered', key, claim }
  }

  #expire(name: string, claim: number): void {
    // In its turn, for a confirm may be writing just now. The timer is the registration's own: a newer one stays.
    const timer = this.#provisional.get(name)?.timer
    void this.#inTurn(name, async () => {
      if (timer === undefined || this.#provisional.get(name)?.timer !== timer) return
      this.#provisional.delete(name)
      this.#expired(name, claim)
    })
  }

  #forgetProvisional(name: string): void {
    this.#clock.clearTimeout(this.#provisional.get(name)?.timer)
    this.#provisional.delete(name)
  }

  async #demand(name: string, key: string): Promise<Stored> {
    const known = await this.#find(name)
    if (known === undefined) {
      throw new NamedMasterError(
        'not-registered',
        `"${name}" is not registered here (any more): call startServer with your key`,
      )
    }
    demandKey(name, known, key)
    return known
  }

  async #find(name: string): Promise<Stored | undefined> {
    const provisional = this.#provisional.get(name)
    if (provisional !== undefined) return provisional
    try {
      const value = await this.#table.get(name)
      return value === undefined ? undefined : v.parse(Stored, value)
    } catch (cause) {
      throw storageFailed(cause)
    }
  }

  /** To the disk itself: names are rare, and what was promised about one must survive a power cut. */
  async #write(name: string, { hash, claim, registered }: Stored): Promise<void> {
    try {
      await this.#table.put(name, { hash, claim, registered }, { sync: true })
    } catch (cause) {
      throw storageFailed(cause)
    }
    this.#forgetProvisional(name)
  }

  /** One after the other for each name: between the look and the write nobody else writes. */
  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(name) ?? Promise.resolve()
    const mine = before.then(work, work)
    const done = mine
      .catch(() => undefined)
      .then(() => {
        if (this.#turns.get(name) === done) this.#turns.delete(name)
      })
    this.#turns.set(name, done)
    return mine
  }
}

const hash = (secret: string): string => createHash('sha256').update(secret).digest('base64url')

/** Hashes are of one length, which is what timingSafeEqual asks for. */
const sameHash = (a: string, b: string): boolean =>
  timingSafeEqual(Buffer.from(a, 'base64url'), Buffer.from(b, 'base64url'))

function demandKey(name: string, known: Stored, key: string): void {
  if (!sameHash(known.hash, hash(key))) throw incorrectKey(name)
}

const incorrectKey = (name: string): NamedMasterError =>
  new NamedMasterError(
    'incorrect-key',
    `This is not the key of "${name}": use the database or the key that registered it, or another name`,
  )

const malformedKey = (name: string): NamedMasterError =>
  new NamedMasterError(
    'incorrect-key',
    `What was given for "${name}" is not a key: a key is the 43 characters that a name server made; without one the name is registered anew`,
  )

const storageFailed = (cause: unknown): NamedMasterError =>
  new NamedMasterError('storage-failed', 'The name server cannot read or write its database: see its log', { cause })
