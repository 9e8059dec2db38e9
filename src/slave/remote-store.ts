/**
 * Another's store as if it were one's own, over a session: what is shown, what is changed, what is called.
 *
 * Promises: code written against a local store runs on this one. It knows nothing of names, sockets or links: whoever made
 * the session sees to those.
 */
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import type { Log } from '../log.js'
import { newUuid } from '../protocol/envelope.js'
import type { Patch } from '../protocol/replication.js'
import { checkEventName, madeEvent, takePayload, type AnyHandler } from '../store/handlers.js'
import type { Handler, Microstore, Mutator, StoreListener } from '../store/microstore.js'
import type { Refusal } from '../store/pending.js'
import { Notifier } from '../store/store.js'
import type { CallOptions } from './calls.js'
import type { Session } from './session.js'

export interface RemoteStoreEvents {
  /** A change of ours will not be: it is undone here. */
  refused: [
    refusal: {
      readonly code: ErrorCode
      readonly message: string
      readonly seq: number
      /** The event that was emitted, or */
      readonly event: string | undefined
      /** the patch of the mutate. */
      readonly patch: Patch | undefined
    },
  ]
  /** Back, and what was missed has been applied. */
  resumed: []
  /** Back, with another state: events in between are not told. `lost`: changes of ours that had been acknowledged. */
  reset: [{ readonly lost: readonly number[] }]
}

export interface RemoteStoreOptions<S = unknown> {
  /** Shown until the first state has come; without it `getState()` is undefined until then. */
  readonly initialState?: S
  readonly log: Log
}

export class RemoteStore<S = unknown> implements Microstore<S> {
  readonly events: Events<RemoteStoreEvents>
  readonly #initialState: S | undefined
  readonly #notifier: Notifier
  #session: Session

  constructor(session: Session, { initialState, log }: RemoteStoreOptions<S>) {
    const report = (error: unknown): void => log('error', 'A listener of the slave threw', { error })
    this.events = new Events<RemoteStoreEvents>(report)
    this.#notifier = new Notifier(report)
    this.#initialState = initialState
    this.#session = session
    this.#listen(session)
  }

  protected get session(): Session {
    return this.#session
  }

  /** Another master's state from now on. The session has the same handlers. */
  protected set session(session: Session) {
    this.#session = session
    this.#listen(session)
  }

  /** The state is the master's: before `resumed` and `reset` are told. */
  protected caughtUp(): void {}

  /** Our public client number, as others see it in `info.origin`; undefined before the first connection. */
  get client(): number | undefined {
    return this.#session.replica.client
  }

  on<P = unknown>(event: string | RegExp, handler: Handler<S, P>): () => void {
    return this.#session.handlers.on(event, handler as AnyHandler)
  }

  /**
   * Emits an event: its handlers here predict what it does, the master decides.
   * @throws NamedMasterError `not-connected` before the first state, `outbox-full`, `invalid-json`
   */
  emit(event: string, payload?: unknown): void {
    const name = checkEventName(event)
    const taken = takePayload(payload)
    if (this.#session.handlers.emittedInside(name, taken)) return
    this.#session.replica.emit(madeEvent(name, taken))
    this.#session.flushSoon()
  }

  /** What is shown: the master's state with our own changes on top. */
  getState(): S
  getState<T>(selector: (state: S) => T): T
  getState<T>(selector?: (state: S) => T): S | T {
    const { ready, value } = this.#session.replica
    const state = (ready ? value : this.#initialState) as S
    return selector === undefined ? state : selector(state)
  }

  /**
   * Changes what is shown at once; it is run again when what it writes was changed meanwhile.
   * @throws what the mutator throws, and as `emit`
   */
  mutate(mutator: Mutator<S>): S {
    if (typeof mutator !== 'function') throw new TypeError('mutate(mutator): the mutator must be a function')
    this.#session.replica.mutate((state) => mutator(state as S), newUuid(), Date.now())
    this.#session.flushSoon()
    return this.getState()
  }

  subscribe(listener: StoreListener): () => void {
    return this.#notifier.subscribe(listener)
  }

  readonly volatile = {
    emit: (event: string, payload?: unknown): void => {
      const name = checkEventName(event)
      if (this.#session.handlers.busy) {
        throw new NamedMasterError('store-busy', 'volatile.emit cannot be used inside a handler or a mutator')
      }
      this.#session.volatile(madeEvent(name, takePayload(payload)))
    },
  }

  /**
   * Resolves when all that was changed so far is committed; rejects with the first refusal since it was last asked.
   * @throws NamedMasterError `not-connected` when that waits for another `connect()`
   */
  settled(): Promise<void> {
    return this.#session.settled()
  }

  /**
   * Calls a method that the master has exposed. At most once; it leaves when all earlier changes are answered.
   * @throws NamedMasterError `no-such-method`, `method-failed` or the method's own code, `timeout`, `aborted`,
   * `unknown-outcome`, `closed`, `not-connected`, `too-many`, `too-large`, `invalid-json`
   */
  call<T = unknown>(method: string, params?: unknown, options: CallOptions = {}): Promise<T> {
    if (this.#session.resting) {
      return Promise.reject(new NamedMasterError('not-connected', 'There is no master to call: await connect() first'))
    }
    return this.#session.calls.call(method, params, this.#session.replica.latestSeq, options) as Promise<T>
  }

  /** An object whose every method calls the master's `<prefix>.<method>` with the list of its arguments. */
  proxy<T extends object = Record<string, (...args: unknown[]) => Promise<unknown>>>(prefix: string): T {
    return new Proxy({} as T, {
      get: (_, method) => {
        // Without this an `await` of the proxy would call a remote method "then".
        if (typeof method === 'symbol' || method === 'then') return undefined
        return (...args: unknown[]) => this.call(`${prefix}.${method}`, args)
      },
    })
  }

  protected tellRefused({ seq, event, patch, error }: Refusal): void {
    this.events.emit('refused', { code: error.code, message: error.message, seq, event, patch })
  }

  #listen(session: Session): void {
    session.events.on('changed', (change) => this.#notifier.tell(change))
    session.events.on('refused', (refusal) => this.tellRefused(refusal))
    session.events.on('caughtUp', ({ by, lost, first }) => {
      this.caughtUp()
      if (first) return
      if (by === 'commits') this.events.emit('resumed')
      else this.events.emit('reset', { lost })
    })
  }
}
