/**
 * What closed tabs left in their outboxes: their changes are sent under their own secrets, each over a link of its own, until
 * all are answered.
 *
 * Promises: one outbox at a time; what goes wrong with one is logged, and looked at again later; `close` lets go of all. Its
 * sessions predict nothing and run no handlers: the program's own slave does that.
 */
import type { Refusal } from '../store/pending.js'
import type { Outbox } from './outbox.js'
import type { Pursuit } from './pursuit.js'
import type { Session } from './session.js'
import { leftOutboxes, type Place } from './slots.js'

/** Between two looks, in milliseconds: a tab may close while this one stays connected, and nobody says so. */
const LOOK_AGAIN_MS = 60_000

export interface LeftoversOptions {
  readonly place: Place
  readonly newSession: (outbox: Outbox) => Session
  /** Finds links for a session. */
  readonly pursue: (session: Session) => Pursuit
  readonly refused: (refusal: Refusal) => void
}

export class Leftovers {
  readonly #options: LeftoversOptions
  #looking: Promise<void> | undefined
  #timer: unknown
  #pursuit: Pursuit | undefined
  #closed = false

  constructor(options: LeftoversOptions) {
    this.#options = options
  }

  /** The master can be reached: now, and while nobody says otherwise. */
  look(): void {
    if (this.#closed || this.#looking !== undefined) return
    const { clock, log } = this.#options.place
    clock.clearTimeout(this.#timer)
    this.#looking = this.#sendAll()
      .catch((error: unknown) => log('warn', 'What another tab left unsent could not be looked for', { error }))
      .then(() => {
        this.#looking = undefined
        if (!this.#closed) this.#timer = clock.setTimeout(() => this.look(), LOOK_AGAIN_MS)
      })
  }

  /** Resolves when its links and outboxes are closed; what was not answered stays for another time. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    this.#options.place.clock.clearTimeout(this.#timer)
    await this.#pursuit?.end()
    await this.#looking
  }

  async #sendAll(): Promise<void> {
    for await (const outbox of leftOutboxes(this.#options.place)) {
      if (!this.#closed) await this.#send(outbox)
      await outbox.close()
      if (this.#closed) return
    }
  }

  async #send(outbox: Outbox): Promise<void> {
    const { newSession, pursue, refused } = this.#options
    const session = newSession(outbox)
    session.events.on('refused', refused)
    const pursuit = (this.#pursuit = pursue(session))
    pursuit.persistent = true
    await new Promise<void>((resolve) => {
      session.events.on('settled', () => session.idle && resolve())
      pursuit.events.on('over', resolve)
    })
    await pursuit.end()
    this.#pursuit = undefined
  }
}
