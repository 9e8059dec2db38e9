/**
 * Slave: another's store as if it were one's own, in a browser or in Node.
 *
 * The life of a slave: disconnected -> connecting -> connected (-> reconnecting -> connected)* -> disconnected. Once it
 * has been connected, only `disconnect()` and a final refusal end it: it comes back by itself, and what was changed
 * meanwhile is sent then.
 */
import { v7 } from 'uuid'
import type { RtcEngine } from '#rtc'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import { Events } from '../events.js'
import { createLink, encode, type Link } from '../link/link.js'
import { utf8Bytes } from '../link/frames.js'
import { consoleLog, type Log } from '../log.js'
import { envelope } from '../protocol/envelope.js'
import type { JsonValue } from '../protocol/json.js'
import { NAME_RULE, normalizeName } from '../protocol/naming.js'
import { parseDown, type Down, type Patch, type Up } from '../protocol/replication.js'
import { OLDEST_VERSION, PROTOCOL_VERSION } from '../protocol/version.js'
import { NameClient } from '../signal/name-client.js'
import { newSecret } from '../signal/secret.js'
import { checkEventName, Handlers, takePayload, type AnyHandler } from '../store/handlers.js'
import type { Handler, Microstore, Mutator, StoreListener } from '../store/microstore.js'
import { Replica, type Refusal, type ReplicaMessage } from '../store/replica.js'
import { Notifier } from '../store/store.js'
import { Calls, type CallOptions } from './calls.js'
import { Dialler } from './dialler.js'

/** Bytes of one message of a master: a whole state may be one. */
const MAX_DOWN_MESSAGE_BYTES = 512 * 1024 * 1024
/** Bytes of one of ours, as masters have it. */
const MAX_UP_MESSAGE_BYTES = 16 * 1024 * 1024
/** Calls above this many characters travel in the bulk lane, so that they delay no change. */
const BULK_CHARACTERS = 64 * 1024
/** From an open channel to the state, in milliseconds without any message in between. */
const WELCOME_TIMEOUT_MS = 20_000
/** Between pings, and the silence after which the master counts as dead, in milliseconds. */
const PING_MS = 3000
const SILENCE_MS = 10_000
/** Between two tries, in milliseconds: doubled each time from the first to the longest; half of it is jitter. */
const FIRST_PAUSE_MS = 250
const MAX_PAUSE_MS = 10_000
/** While the name server watches for the name, in milliseconds: a try of our own in case its word was lost. */
const WATCH_PAUSE_MS = 60_000
/** How long `disconnect` lets changes on their way be answered, in milliseconds. */
const FAREWELL_MS = 2000
/** Refusals kept for the next `settled()`. */
const MAX_UNREPORTED_REFUSALS = 1000

export type SlaveStatus = 'disconnected' | 'connecting' | 'connected' | 'reconnecting'

export interface SlaveOptions<S = unknown> {
  /** Shown until the first state has come; without it `getState()` is undefined until then. */
  readonly initialState?: S
  /** Shown to the master's `authenticate`. */
  readonly token?: string
  /** The WebRTC engine; default: the browser's own, or wrtc. */
  readonly rtc?: RtcEngine
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

export interface SlaveEvents extends Record<string, readonly unknown[]> {
  status: [status: SlaveStatus]
  /** A change of ours will not be: it is undone here. */
  refused: [
    refusal: { code: string; message: string; seq: number; event: string | undefined; patch: Patch | undefined },
  ]
  /** Back, and what was missed has been applied. */
  resumed: []
  /** Back, with another state: events in between are not told. `lost`: changes of ours that had been acknowledged. */
  reset: [{ lost: readonly number[] }]
}

/** The pursuit of one name, from `connect` to `disconnect` or failure. */
interface Pursuit {
  readonly name: string
  readonly abort: AbortController
  readonly names: NameClient
  readonly dialler: Dialler
  /** Whether it goes on though the master cannot be reached; true once it was. */
  persistent: boolean
  /** Settles when the pursuit is over and everything is closed. */
  over: Promise<void>
}

export class Slave<S = unknown> implements Microstore<S> {
  readonly events: Events<SlaveEvents>
  /** Why the last `connect` answered false, or the connection was lost. */
  lastError: NamedMasterError | undefined
  /** How the bytes go: 'direct', or through a 'relay'. Undefined while unconnected or unknown. */
  path: 'direct' | 'relay' | undefined

  readonly #url: string
  readonly #options: SlaveOptions<S>
  readonly #clock: Clock
  readonly #log: Log
  readonly #handlers: Handlers
  readonly #notifier: Notifier
  readonly #calls: Calls
  readonly #secret = newSecret()
  #status: SlaveStatus = 'disconnected'
  #pursuit: Pursuit | undefined
  /** The name whose state and unanswered changes we have. */
  #name: string | undefined
  #replica: Replica
  #link: Link<Down, Up> | undefined
  #session: string | undefined
  #inbox: Down[] = []
  #flushing = false
  #unreported: Refusal[] = []

  /** No I/O happens before `connect`. @throws TypeError when the address of the name server is none */
  constructor(url: string, options: SlaveOptions<S> = {}) {
    new URL(url)
    this.#url = url
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? consoleLog
    const report = (error: unknown): void => this.#log('error', 'A handler or listener of the slave threw', { error })
    this.events = new Events<SlaveEvents>(report)
    this.#handlers = new Handlers((sentence) => this.#log('warn', sentence))
    this.#notifier = new Notifier(report)
    this.#calls = new Calls({
      clock: this.#clock,
      due: () => this.#flushSoon(),
      cancel: (call) => this.#link?.send(envelope('cancel', { call })),
    })
    this.#replica = this.#newReplica(report)
  }

  get status(): SlaveStatus {
    return this.#status
  }

  /** Milliseconds of the last heartbeat; undefined while unconnected and before the first one. */
  get roundTrip(): number | undefined {
    return this.#link?.roundTrip
  }

  /** Our public client number, as others see it in `info.origin`; undefined before the first connection. */
  get client(): number | undefined {
    return this.#replica.client
  }

  /**
   * Connects to the master of that name (seed document 2).
   * @returns true when its state is here; false when it cannot be reached: `lastError.code` is then `no-such-master`,
   * `master-offline`, `refused`, `unreachable`, `name-server-unreachable`, `timeout`, `aborted` or `unsupported-version`
   * @throws TypeError when it is connected, or connecting, to another name
   */
  async connect(name: string, options: ConnectOptions = {}): Promise<boolean> {
    const wanted = normalizeName(name)
    if (wanted === undefined) throw new NamedMasterError('invalid-name', `${NAME_RULE}; "${String(name)}" is none`)
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
    pursuit.abort.abort()
    await pursuit.over
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
    this.#replica.emit(made(name, taken))
    this.#flushSoon()
  }

  getState(): S
  getState<T>(selector: (state: S) => T): T
  getState<T>(selector?: (state: S) => T): S | T {
    const state = (this.#replica.position === undefined ? this.#options.initialState : this.#replica.value) as S
    return selector === undefined ? state : selector(state)
  }

  /**
   * Changes what is shown at once; it is run again when what it writes was changed meanwhile.
   * @throws what the mutator throws, and as `emit`
   */
  mutate(mutator: Mutator<S>): S {
    if (typeof mutator !== 'function') throw new TypeError('mutate(mutator): the mutator must be a function')
    this.#replica.mutate((state) => mutator(state as S), v7(), Date.now())
    this.#flushSoon()
    return this.#replica.value as S
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
      const message = made(name, takePayload(payload))
      if (this.#status !== 'connected' || this.#link?.hasRoom !== true) return
      const { id, at, ...rest } = message
      this.#link.send(envelope('volatile', rest, id, at))
      this.#replica.volatile(message, this.#replica.client)
    },
  }

  /**
   * Resolves when everything changed so far is committed; rejects with the first refusal since the last `settled()`.
   */
  settled(): Promise<void> {
    const target = this.#replica.latestSeq
    const replica = this.#replica
    return new Promise((resolve, reject) => {
      const done = (): void => {
        const mine = this.#unreported.filter(({ seq }) => seq <= target)
        this.#unreported = this.#unreported.filter(({ seq }) => seq > target)
        if (mine[0] === undefined) resolve()
        else reject(mine[0].error)
      }
      if (replica.settledSeq >= target) return done()
      const off = replica.events.on('settled', (seq) => {
        if (seq < target) return
        off()
        done()
      })
    })
  }

  /**
   * Calls a method that the master has exposed. At most once; it leaves when all earlier changes are answered.
   * @throws NamedMasterError `no-such-method`, `method-failed` or the method's own code, `timeout`, `aborted`,
   * `unknown-outcome`, `not-connected`, `too-many`, `too-large`, `invalid-json`
   */
  call(method: string, params?: unknown, options: CallOptions = {}): Promise<unknown> {
    if (this.#pursuit === undefined) {
      return Promise.reject(new NamedMasterError('not-connected', 'There is no master to call: await connect() first'))
    }
    return this.#calls.call(method, params, this.#replica.latestSeq, options)
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

  // --- reaching the master ----------------------------------------------------------------------------------------

  #pursue(name: string): Pursuit {
    if (this.#name !== name) this.#leave()
    this.#name = name
    const names = new NameClient(this.#url, { log: this.#log, clock: this.#clock })
    const { rtc } = this.#options
    const dialler = new Dialler(names, { clock: this.#clock, ...(rtc === undefined ? {} : { rtc }) })
    const pursuit: Pursuit = {
      name,
      abort: new AbortController(),
      names,
      dialler,
      persistent: false,
      over: Promise.resolve(),
    }
    pursuit.over = this.#keepUp(pursuit)
    this.#setStatus('connecting')
    return pursuit
  }

  /** Another name: the state and the changes of the one before are no longer ours. */
  #leave(): void {
    const error = new NamedMasterError('closed', 'The slave left for another master before this was answered')
    this.#replica.abandon(error)
    this.#calls.abandon(error)
    this.#replica = this.#newReplica((thrown) => this.#log('error', 'A handler of the slave threw', { error: thrown }))
    this.#session = undefined
  }

  async #keepUp(pursuit: Pursuit): Promise<void> {
    const { signal } = pursuit.abort
    const unwatch = watchPage(() => this.#link)
    let failures = 0
    try {
      while (!signal.aborted) {
        try {
          const link = await this.#open(pursuit)
          pursuit.persistent = true
          failures = 0
          this.lastError = await closed(link)
        } catch (error) {
          this.lastError = NamedMasterError.from(error, 'internal', 'The connection failed for an unknown reason')
          if (this.lastError.code === 'internal') this.#log('error', 'Connecting failed', { error })
        }
        this.path = undefined
        if (signal.aborted || isFinal(this.lastError) || !pursuit.persistent) break
        if (this.#status === 'connected') this.#setStatus('reconnecting')
        await this.#pause(pursuit, this.lastError, ++failures)
      }
    } finally {
      unwatch()
      await this.#link?.close('closed', 'The slave has disconnected')
      this.#link = undefined
      pursuit.names.close()
      await pursuit.dialler.close()
      this.#pursuit = undefined
      this.#setStatus('disconnected')
    }
  }

  /** Dials, says hello, and answers the link when its state is here. */
  async #open(pursuit: Pursuit): Promise<Link<Down, Up>> {
    const { signal } = pursuit.abort
    const channel = await pursuit.dialler.dial(pursuit.name, signal)
    const link = createLink<Down, Up>(channel, {
      parse: parseDown,
      maxMessageBytes: MAX_DOWN_MESSAGE_BYTES,
      heartbeat: {
        interval: PING_MS,
        silence: () => SILENCE_MS,
        pong: () => ({ hidden: pageIsHidden(), lowestCall: this.#calls.lowest }),
      },
      clock: this.#clock,
    })
    this.#link = link
    this.#inbox = []
    this.#replica.relink()
    return new Promise((resolve, reject) => {
      const tooLate = (): void => {
        void link.close('timeout', 'The master did not send its state in time')
      }
      let timer = this.#clock.setTimeout(tooLate, WELCOME_TIMEOUT_MS)
      const onAbort = (): void => void link.close('closed', 'The slave has disconnected')
      const offReached = this.#replica.events.on('caughtUp', () => {
        end()
        resolve(link)
      })
      const end = (): void => {
        this.#clock.clearTimeout(timer)
        offReached()
      }
      signal.addEventListener('abort', onAbort, { once: true })
      link.events.on('message', (message) => {
        this.#clock.clearTimeout(timer)
        if (this.#status !== 'connected') timer = this.#clock.setTimeout(tooLate, WELCOME_TIMEOUT_MS)
        this.#receive(link, message)
      })
      link.events.on('close', (reason) => {
        end()
        signal.removeEventListener('abort', onAbort)
        reject(reason)
      })
      link.send(envelope('hello', this.#hello()))
      if (signal.aborted) onAbort()
    })
  }

  #hello(): Extract<Up, { command: 'hello' }>['payload'] {
    const { position } = this.#replica
    const { token } = this.#options
    return {
      versions: { oldest: OLDEST_VERSION, newest: PROTOCOL_VERSION },
      secret: this.#secret,
      calls: this.#calls.sent,
      encodings: ['json'],
      ...(position === undefined ? {} : { position }),
      ...(this.#session === undefined ? {} : { session: this.#session }),
      ...(token === undefined ? {} : { token }),
    }
  }

  /** Waits between two tries; a name that is not up is watched for by the name server. */
  async #pause({ name, names, abort }: Pursuit, error: NamedMasterError | undefined, failures: number): Promise<void> {
    const absent = error?.code === 'no-such-master' || error?.code === 'master-offline' || error?.code === 'stopped'
    const backoff = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), MAX_PAUSE_MS)
    await new Promise<void>((resolve) => {
      const over = (): void => {
        this.#clock.clearTimeout(timer)
        for (const off of offs) off()
        resolve()
      }
      const timer = this.#clock.setTimeout(over, absent ? WATCH_PAUSE_MS : backoff * (0.5 + Math.random() / 2))
      const watch = (): void => {
        if (absent)
          names.request('watch', { name }).then(
            ({ live }) => live && over(),
            () => undefined,
          )
      }
      const offs = [
        names.events.on('available', (available) => available === name && over()),
        names.events.on('status', (status) => status === 'connected' && watch()),
        listen(abort.signal, 'abort', over),
        listen(globalThis, 'online', over),
      ]
      watch()
      if (abort.signal.aborted) over()
    })
  }

  #reached(pursuit: Pursuit, { signal, timeout }: ConnectOptions): Promise<boolean> {
    return new Promise((resolve) => {
      const answer = (reached: boolean): void => {
        this.#clock.clearTimeout(timer)
        for (const off of offs) off()
        resolve(reached)
      }
      const giveUp = (error: NamedMasterError): void => {
        answer(false)
        // Before it was ever reached, nobody else waits for it; afterwards it goes on by itself.
        if (this.#status === 'connecting') {
          pursuit.abort.abort()
          void pursuit.over.then(() => (this.lastError = error))
        }
        this.lastError = error
      }
      const onAbort = (): void => giveUp(new NamedMasterError('aborted', 'The connection was given up'))
      const offs = [
        this.events.on('status', (status) => {
          if (status === 'connected') answer(true)
          else if (status === 'disconnected') answer(false)
        }),
        ...(signal === undefined ? [] : [listen(signal, 'abort', onAbort)]),
      ]
      const timer =
        timeout === undefined
          ? undefined
          : this.#clock.setTimeout(() => {
              giveUp(new NamedMasterError('timeout', `The master was not reached within ${timeout} ms`))
            }, timeout)
      if (signal?.aborted === true) onAbort()
    })
  }

  /** What was changed may still be answered, for a moment. */
  #farewell(): Promise<void> {
    const replica = this.#replica
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

  // --- messages -----------------------------------------------------------------------------------------------------

  /** All messages of one frame arrive in one turn and are taken together. */
  #receive(link: Link<Down, Up>, message: Down): void {
    if (this.#inbox.push(message) > 1) return
    queueMicrotask(() => {
      if (link === this.#link && link.open) this.#take(link)
    })
  }

  #take(link: Link<Down, Up>): void {
    const messages = this.#inbox
    this.#inbox = []
    let batch: ReplicaMessage[] = []
    const replicate = (): void => {
      const replicated = batch
      batch = []
      if (replicated.length > 0) this.#replica.receive(replicated)
    }
    try {
      for (const message of messages) {
        switch (message.command) {
          case 'welcome':
            this.#calls.resume(message.payload.session === this.#session, message.payload.calls)
            this.#session = message.payload.session
            batch.push(message)
            break
          case 'snapshot':
          case 'commit':
          case 'refused':
            batch.push(message)
            break
          case 'answer':
            this.#calls.answer(message.payload)
            break
          case 'volatile':
            replicate()
            this.#hearVolatile(message)
            break
          case 'pong':
            void link.path().then((path) => link === this.#link && (this.path = path))
            break
          case 'ping':
          case 'goodbye': // the link's own business
        }
      }
      replicate()
    } catch (error) {
      // The state here may be wrong: the next welcome brings another.
      this.#log('error', 'The master sent what cannot be; connecting anew', { error })
      this.#replica.forget()
      void link.close('invalid-message', error instanceof Error ? error.message : 'Commits did not fit')
      return
    }
    this.#calls.applied(this.#replica.version)
    this.#flush()
  }

  #hearVolatile({ payload, uuid, timestamp }: Extract<Down, { command: 'volatile' }>): void {
    const { client, ...event } = payload
    if (this.#status === 'connected') this.#replica.volatile({ ...event, id: uuid, at: timestamp }, client)
  }

  #flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  #flush(): void {
    const link = this.#link
    if (link === undefined || !link.open || this.#status !== 'connected') return
    for (const { command, payload, id, at } of this.#replica.sendable()) {
      const text = encode<Up>(envelope(command, payload, id, at) as Up)
      if (fits(text)) link.send(text)
      else return this.#replica.reject(payload.seq, tooLarge())
    }
    for (const call of this.#calls.sendable(this.#replica.settledSeq)) {
      const text = encode<Up>(envelope('call', call))
      if (!fits(text)) this.#calls.fail(call.call, tooLarge())
      else link.send(text, text.length > BULK_CHARACTERS ? 'bulk' : 'ordered')
    }
  }

  #newReplica(report: (error: unknown) => void): Replica {
    const replica = new Replica({ handlers: this.#handlers, report })
    replica.events.on('changed', (change) => this.#notifier.tell(change))
    replica.events.on('settled', () => this.#flushSoon())
    replica.events.on('refused', (refusal) => {
      this.#unreported.push(refusal)
      if (this.#unreported.length > MAX_UNREPORTED_REFUSALS) this.#unreported.shift()
      const { seq, event, patch, error } = refusal
      this.events.emit('refused', { code: error.code, message: error.message, seq, event, patch })
    })
    replica.events.on('caughtUp', ({ by, lost, first }) => {
      const link = this.#link
      void link?.path().then((path) => link === this.#link && (this.path = path))
      this.#setStatus('connected')
      this.#flushSoon()
      if (first) return
      if (by === 'commits') this.events.emit('resumed')
      else this.events.emit('reset', { lost })
    })
    return replica
  }

  #setStatus(status: SlaveStatus): void {
    if (status === this.#status) return
    this.#status = status
    this.events.emit('status', status)
  }
}

const closed = (link: Link<Down, Up>): Promise<NamedMasterError> =>
  new Promise((resolve) => void link.events.once('close', resolve))

/** What no further try would change. */
const isFinal = (error: NamedMasterError | undefined): boolean =>
  error?.code === 'refused' || error?.code === 'unsupported-version' || error?.code === 'not-allowed'

const fits = (text: string): boolean =>
  text.length * 3 <= MAX_UP_MESSAGE_BYTES || utf8Bytes(text) <= MAX_UP_MESSAGE_BYTES

const tooLarge = (): NamedMasterError =>
  new NamedMasterError('too-large', `A message to a master may have ${MAX_UP_MESSAGE_BYTES} bytes: send it in parts`)

const made = (event: string, payload: JsonValue | undefined) => ({
  event,
  id: v7(),
  at: Date.now(),
  ...(payload === undefined ? {} : { payload }),
})

// --- the page, where there is one -------------------------------------------------------------------------------------

const pageIsHidden = (): boolean => typeof document !== 'undefined' && document.visibilityState === 'hidden'

/** Adds a listener where the target takes one (Node's globalThis does not); answers the function that removes it. */
function listen(target: unknown, event: string, listener: () => void): () => void {
  const events = target as Partial<EventTarget>
  events.addEventListener?.(event, listener)
  return () => events.removeEventListener?.(event, listener)
}

/** The master should know at once when the page goes to the background (it gets more time) or away. */
function watchPage(link: () => Link<Down, Up> | undefined): () => void {
  if (typeof document === 'undefined') return () => undefined
  const offs = [
    listen(document, 'visibilitychange', () => link()?.send(envelope('pong', { hidden: pageIsHidden() }), 'urgent')),
    listen(globalThis, 'pagehide', () => void link()?.close('closed', 'The page was left')),
  ]
  return () => offs.forEach((off) => off())
}
