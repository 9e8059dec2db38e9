/**
 * A master's claim to its name at one name server: registered, renewed after a lost socket, given up, or lost to a newer
 * claim (docs/PROTOCOL.md, "Names").
 *
 * Promises: a lost answer loses no name; the key is on the master's disk before the registration is confirmed; after
 * `evicted` nothing is claimed again until the program says so.
 */
import { NamedMasterError } from '../errors.js'
import { Events } from '../events.js'
import type { Log } from '../log.js'
import type { NameClient } from '../signal/name-client.js'
import { newSecret } from '../signal/secret.js'
import type { Journal } from './journal.js'

/** A claim and all its retries, in milliseconds. */
const CLAIM_TIMEOUT_MS = 30_000
/** Tries to get an answer that was lost with its socket. */
const MAX_TRIES = 3

export interface ClaimEvents {
  /** The name server is gone, or back and the claim renewed. */
  reachable: [reachable: boolean]
  evicted: [name: string]
}

export class Claim {
  readonly events = new Events<ClaimEvents>()
  readonly #names: NameClient
  readonly #log: Log
  #held: { readonly name: string; readonly key: string; readonly claim: number } | undefined
  /** The latest eviction that was heard: it may come in the same turn as the answer that it takes back. */
  #heard: { readonly name: string; readonly claim: number } | undefined

  constructor(names: NameClient, log: Log) {
    this.#names = names
    this.#log = log
    names.events.on('evicted', (heard) => {
      this.#heard = heard
      this.#yield()
    })
    names.events.on('status', (status) => {
      if (this.#held === undefined) return
      if (status === 'disconnected') this.events.emit('reachable', false)
      else void this.#renew()
    })
  }

  /** The name held. */
  get name(): string | undefined {
    return this.#held?.name
  }

  /**
   * @param given a key that the program gave; else the journal's is used
   * @throws NamedMasterError incorrect-key, name-server-unreachable, timeout, too-many, storage-failed
   */
  async take(
    name: string,
    url: string,
    journal: Journal,
    given: string | undefined,
  ): Promise<'registered' | 'started' | 'exists'> {
    const signal = AbortSignal.timeout(CLAIM_TIMEOUT_MS)
    // The same for all tries: the name server answers a repeated attempt as it answered the first.
    const attempt = newSecret()
    let key = given ?? (await journal.key(url, name))
    let first: 'registered' | undefined
    for (let tries = 1; ; tries++) {
      try {
        await this.#names.connect({ signal })
        const answer = await this.#names.request(
          'startServer',
          { name, attempt, ...(key === undefined ? {} : { key }) },
          { signal },
        )
        if (answer.answer === 'exists') return 'exists'
        if (answer.answer === 'registered') {
          first = 'registered'
          key = answer.key
          await journal.keepKey(url, name, key)
          await this.#names.request('confirm', { name, key }, { signal })
        }
        this.#held = { name, key: key as string, claim: answer.claim }
        this.#yield()
        return first ?? answer.answer
      } catch (error) {
        if (signal.aborted)
          throw new NamedMasterError('timeout', `The name server did not answer within ${CLAIM_TIMEOUT_MS} ms`)
        if (!wasLost(error) || tries === MAX_TRIES) throw error
        this.#log('warn', 'An answer of the name server was lost; asking again', { name })
      }
    }
  }

  /** Gives the name up: it stays registered, and is offline. Without its socket the name server finds that by itself. */
  async release(): Promise<void> {
    const held = this.#held
    this.#held = undefined
    if (held === undefined || this.#names.status === 'disconnected') return
    const { name, key } = held
    await this.#names.request('stopServer', { name, key }).catch((error: unknown) => {
      this.#log('warn', 'The name server could not be told that the master stops', { error })
    })
  }

  async #renew(): Promise<void> {
    const held = this.#held
    if (held === undefined) return
    try {
      const { answer } = await this.#names.request('renew', held)
      if (this.#held !== held) return
      if (answer === 'renewed') this.events.emit('reachable', true)
      else this.#evict()
    } catch (error) {
      if (this.#held !== held) return
      // A lost socket comes back and renews again; a refusal is for a person to look at.
      this.#log(wasLost(error) ? 'info' : 'error', 'The claim to the name could not be renewed', { error })
    }
  }

  /** To a claim that is newer than ours. */
  #yield(): void {
    const { name, claim } = this.#heard ?? {}
    if (this.#held !== undefined && name === this.#held.name && Number(claim) > this.#held.claim) this.#evict()
  }

  #evict(): void {
    const held = this.#held
    this.#held = undefined
    if (held !== undefined) this.events.emit('evicted', held.name)
  }
}

const wasLost = (error: unknown): boolean =>
  error instanceof NamedMasterError && !error.remote && error.code === 'name-server-unreachable'
