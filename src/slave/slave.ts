/**
 * Slave: another's store as if it were one's own, in a browser or in Node.
 *
 * The life of a slave: disconnected -> connecting -> connected (-> reconnecting -> connected)* -> disconnected. Once it
 * has been connected, only `disconnect()` and a final refusal end it: it comes back by itself, and what was changed
 * meanwhile is sent then.
 */

import type { RtcEngine } from '#rtc'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import { checkPolicy } from '../link/native.js'
import { consoleLog, type Log } from '../log.js'
import { newUuid } from '../protocol/envelope.js'
import { NAME_RULE, normalizeName } from '../protocol/naming.js'
import type { Patch } from '../protocol/replication.js'
import { parseUrl } from '../signal/name-client.js'
import { checkEventName, Handlers, madeEvent, takePayload, type AnyHandler } from '../store/handlers.js'
import type { Handler, Microstore, Mutator, StoreListener } from '../store/microstore.js'
import { Notifier } from '../store/store.js'
import type { CallOptions } from './calls.js'
import { isAbsence, Pursuit } from './pursuit.js'
import { Session, unsettled } from './session.js'

/** How long `disconnect` lets changes on their way be answered, in milliseconds. */
const FAREWELL_MS = 2000

export type SlaveStatus = 'disconnected' | 'connecting' | 'connected' | 'reconnecting'

export interface SlaveOptions<S = unknown> {
  /** Shown until the first state has come; without it `getState()` is undefined until then. */
  readonly initialState?: S
  /** Shown to the master, for the rights it gives. */
  readonly token?: string
  /** The WebRTC engine; default: the browser's own, or wrtc. */
  readonly rtc?: RtcEngine
  /** 'relay' uses TURN servers only, and hides this machine's addresses from the master; default 'all'. */
  readonly iceTransportPolicy?: RTCIceTransportPolicy
  readonly log?: Log
  readonly clock?: Clock
}

export interface ConnectOptions {
  /** Keep trying until the master is there. */
  readonly wait?: boolean
  /** Milliseconds after which the answer is false. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

export interface SlaveEvents {
  status: [status: SlaveStatus]
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

export class Slave<S = unknown> implements Microstore<S> {
  readonly events: Events<SlaveEvents>
  readonly #url: string
  readonly #options: SlaveOptions<S>
  readonly #policy: RTCIceTransportPolicy
  readonly #clock: Clock
  readonly #log: Log
  readonly #handlers: Handlers
  readonly #notifier: Notifier
  #status: SlaveStatus = 'disconnected'
  #lastError: NamedMasterError | undefined
  #path: 'direct' | 'relay' | undefined
  #pursuit: Pursuit | undefined
  /** The name whose state and unanswered changes the session has. */
  #name: string | undefined
  #session: Session

  /** No I/O happens before `connect`. @throws TypeError when an option is wrong, the name server's address included */
  constructor(url: string, options: SlaveOptions<S> = {}) {
    parseUrl(url)
    this.#url = url
    this.#policy = checkPolicy(options.iceTransportPolicy)
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? consoleLog
    const report = (error: unknown): void => this.#log('error', 'A listener of the slave threw', { error })
    this.events = new Events<SlaveEvents>(report)
    this.#handlers = new Handlers((sentence) => this.#log('warn', sentence))
    this.#notifier = new Notifier(report)
    this.#session = this.#newSession()
  }

  get status(): SlaveStatus {
    return this.#status
  }

  /** Why the last `connect` answered false, or why the connection is lost; undefined while connected. */
  get lastError(): NamedMasterError | undefined {
    return this.#lastError
  }

  /**
   * How the bytes go: 'direct', or through a 'relay'. Undefined while unconnected or unknown. Looked at with each
   * heartbeat: for the first three seconds a relay that only the master uses may pass for 'direct'.
   */
  get path(): 'direct' | 'relay' | undefined {
    return this.#path
  }

  /** Milliseconds of the last heartbeat; undefined while unconnected and before the first one. */
  get roundTrip(): number | undefined {
    return this.#session.link?.roundTrip
  }

  /** Our public client number, as others see it in `info.origin`; undefined before the first connection. */
  get client(): number | undefined {
    return this.#session.replica.client
  }

  /**
   * Connects to the master of that name (seed document 2).
   * @returns true when its state is here; false when it cannot be reached: `lastError.code` is then `no-such-master`,
   * `master-offline`, `refused`, `unreachable`, `name-server-unreachable`, `timeout`, `aborted` or `unsupported-version`
   * @throws TypeError when it is connected, or connecting, to another name; NamedMasterError `invalid-name`
   */
  async connect(name: string, options: ConnectOptions = {}): Promise<boolean> {
    const wanted = normalizeName(name)
    if (wanted === undefined) throw new NamedMasterError('invalid-name', `${NAME_RULE}; "${name}" is not one`)
    if (this.#pursuit !== undefined && this.#pursuit.name !== wanted) {
      throw new TypeError(`connect: this slave is connected to "${this.#pursuit.name}"; call disconnect() first`)
    }
    if (this.#status === 'connected') return true
    this.#pursuit ??= this.#pursue(wanted)
    if (options.wait === true) this.#pursuit.persistent = true
    return this.#reached(this.#pursuit, options)
  }

  /** Ends the connection; what was sent is given two seconds to be answered. Always answers false. Idempotent. */
  async disconnect(): Promise<false> {
    const pursuit = this.#pursuit
    if (pursuit === undefined) return false
    if (this.#status === 'connected') await this.#farewell()
    await pursuit.end()
    return false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.disconnect()
  }

  on<P = unknown>(event: string | RegExp, handler: Handler<S, P>): () => void {
    return this.#handlers.on(event, handler as AnyHandler)
  }

  /**
   * Emits an event: its handlers here predict what it does, the master decides.
   * @throws NamedMasterError `not-connected` before the first state, `outbox-full`, `invalid-json`
   */
  emit(event: string, payload?: unknown): void {
    const name = checkEventName(event)
    const taken = takePayload(payload)
    if (this.#handlers.emittedInside(name, taken)) return
    this.#session.replica.emit(madeEvent(name, taken))
    this.#session.flushSoon()
  }

  /** What is shown: the master's state with our own changes on top. */
  getState(): S
  getState<T>(selector: (state: S) => T): T
  getState<T>(selector?: (state: S) => T): S | T {
    const { ready, value } = this.#session.replica
    const state = (ready ? value : this.#options.initialState) as S
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
      if (this.#handlers.busy) {
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
    if (this.#pursuit === undefined && this.#session.replica.pending > 0) return Promise.reject(unsettled())
    return this.#session.settled()
  }

  /**
   * Calls a method that the master has exposed. At most once; it leaves when all earlier changes are answered.
   * @throws NamedMasterError `no-such-method`, `method-failed` or the method's own code, `timeout`, `aborted`,
   * `unknown-outcome`, `closed`, `not-connected`, `too-many`, `too-large`, `invalid-json`
   */
  call<T = unknown>(method: string, params?: unknown, options: CallOptions = {}): Promise<T> {
    if (this.#pursuit === undefined) {
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

  #newSession(): Session {
    const { token } = this.#options
    const session = new Session({
      handlers: this.#handlers,
      clock: this.#clock,
      log: this.#log,
      ...(token === undefined ? {} : { token }),
    })
    session.events.on('changed', (change) => this.#notifier.tell(change))
    session.events.on('pulse', () => this.#lookAtPath())
    session.events.on('refused', ({ seq, event, patch, error }) => {
      this.events.emit('refused', { code: error.code, message: error.message, seq, event, patch })
    })
    session.events.on('caughtUp', ({ by, lost, first }) => {
      this.#lastError = undefined
      this.#setStatus('connected')
      if (first) return
      if (by === 'commits') this.events.emit('resumed')
      else this.events.emit('reset', { lost })
    })
    return session
  }

  #pursue(name: string): Pursuit {
    if (this.#name !== undefined && this.#name !== name) {
      this.#session.abandon(
        new NamedMasterError('closed', 'The slave left for another master before this was answered'),
      )
      this.#session = this.#newSession()
    }
    const absent = this.#name === name && this.#lastError !== undefined && isAbsence(this.#lastError.code)
    this.#name = name
    const pursuit = new Pursuit({
      url: this.#url,
      name,
      session: this.#session,
      rtc: this.#options.rtc,
      iceTransportPolicy: this.#policy,
      lookFirst: absent,
      clock: this.#clock,
      log: this.#log,
    })
    pursuit.events.on('reached', () => this.#lookAtPath())
    pursuit.events.on('lost', () => {
      this.#path = undefined
      this.#lastError = pursuit.lastError
      this.#setStatus('reconnecting')
    })
    pursuit.events.on('over', () => {
      this.#path = undefined
      this.#pursuit = undefined
      this.#session.rest()
      this.#lastError = pursuit.lastError
      this.#setStatus('disconnected')
    })
    this.#setStatus('connecting')
    return pursuit
  }

  /** Waits for the state, within the caller's own bounds. */
  #reached(pursuit: Pursuit, { signal, timeout }: ConnectOptions): Promise<boolean> {
    return new Promise((resolve) => {
      const answer = (reached: boolean): void => {
        this.#clock.clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        off()
        resolve(reached)
      }
      const giveUp = (error: NamedMasterError): void => {
        off()
        // Once it was reached, it goes on by itself until disconnect().
        const ended = this.#status === 'connecting' ? pursuit.end(error) : Promise.resolve()
        void ended.then(() => {
          this.#lastError = error
          answer(false)
        })
      }
      const onAbort = (): void => giveUp(new NamedMasterError('aborted', 'The connection was given up'))
      const off = this.events.on('status', (status) => {
        if (status === 'connected') answer(true)
        else if (status === 'disconnected') answer(false)
      })
      const late = (): void => {
        const why = pursuit.lastError === undefined ? '' : `: ${pursuit.lastError.message}`
        giveUp(new NamedMasterError('timeout', `The master was not reached within ${timeout} ms${why}`))
      }
      const timer = timeout === undefined ? undefined : this.#clock.setTimeout(late, timeout)
      signal?.addEventListener('abort', onAbort)
      if (signal?.aborted === true) onAbort()
    })
  }

  /** What was changed may still be answered, for a moment. */
  #farewell(): Promise<void> {
    const { replica } = this.#session
    if (replica.pending === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const over = (): void => {
        this.#clock.clearTimeout(timer)
        for (const off of offs) off()
        resolve()
      }
      const timer = this.#clock.setTimeout(over, FAREWELL_MS)
      const offs = [replica.events.on('settled', () => replica.pending === 0 && over()), this.events.on('status', over)]
    })
  }

  #lookAtPath(): void {
    const { link } = this.#session
    void link?.path().then((path) => {
      if (link === this.#session.link) this.#path = path
    })
  }

  #setStatus(status: SlaveStatus): void {
    if (status === this.#status) return
    this.#status = status
    this.events.emit('status', status)
  }
}
