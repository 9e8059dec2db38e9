/**
 * Slave: the store behind a name, in a browser or in Node.
 *
 * The life of a slave: disconnected -> connecting -> connected (-> reconnecting -> connected)* -> disconnected. Once it
 * has been connected, only `disconnect()` and a final refusal end it: it comes back by itself, and what was changed
 * meanwhile is sent then.
 */
import type { RtcEngine } from '#rtc'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import type { Events } from '../events.js'
import { checkPolicy } from '../link/native.js'
import { consoleLog, type Log } from '../log.js'
import { NAME_RULE, normalizeName } from '../protocol/naming.js'
import { parseUrl } from '../signal/name-client.js'
import { Handlers } from '../store/handlers.js'
import { isAbsence, Pursuit } from './pursuit.js'
import { RemoteStore, type RemoteStoreEvents } from './remote-store.js'
import { Session } from './session.js'

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

export interface SlaveEvents extends RemoteStoreEvents {
  status: [status: SlaveStatus]
}

export class Slave<S = unknown> extends RemoteStore<S> {
  declare readonly events: Events<SlaveEvents>
  readonly #url: string
  readonly #options: SlaveOptions<S>
  readonly #policy: RTCIceTransportPolicy
  readonly #clock: Clock
  readonly #log: Log
  #status: SlaveStatus = 'disconnected'
  #lastError: NamedMasterError | undefined
  #path: 'direct' | 'relay' | undefined
  #pursuit: Pursuit | undefined
  /** The name whose state and unanswered changes the session has. */
  #name: string | undefined

  /** No I/O happens before `connect`. @throws TypeError when an option is wrong, the name server's address included */
  constructor(url: string, options: SlaveOptions<S> = {}) {
    parseUrl(url)
    const policy = checkPolicy(options.iceTransportPolicy)
    const { clock = systemClock, log = consoleLog } = options
    const handlers = new Handlers((sentence) => log('warn', sentence))
    super(newSession(handlers, clock, log, options.token), { ...options, log })
    this.#url = url
    this.#policy = policy
    this.#options = options
    this.#clock = clock
    this.#log = log
    this.#watch()
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
    return this.session.link?.roundTrip
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

  protected override caughtUp(): void {
    this.#lastError = undefined
    this.#setStatus('connected')
  }

  #watch(): void {
    this.session.events.on('pulse', () => this.#lookAtPath())
  }

  #pursue(name: string): Pursuit {
    if (this.#name !== undefined && this.#name !== name) {
      this.session.abandon(new NamedMasterError('closed', 'The slave left for another master before this was answered'))
      this.session = newSession(this.session.handlers, this.#clock, this.#log, this.#options.token)
      this.#watch()
    }
    const absent = this.#name === name && this.#lastError !== undefined && isAbsence(this.#lastError.code)
    this.#name = name
    const pursuit = new Pursuit({
      url: this.#url,
      name,
      session: this.session,
      rtc: this.#options.rtc,
      iceTransportPolicy: this.#policy,
      lookFirst: absent,
      clock: this.#clock,
      log: this.#log,
    })
    this.session.wake()
    pursuit.events.on('reached', () => this.#lookAtPath())
    pursuit.events.on('lost', () => {
      this.#path = undefined
      this.#lastError = pursuit.lastError
      this.#setStatus('reconnecting')
    })
    pursuit.events.on('over', () => {
      this.#path = undefined
      this.#pursuit = undefined
      this.session.rest()
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
    const { replica } = this.session
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
    const { link } = this.session
    void link?.path().then((path) => {
      if (link === this.session.link) this.#path = path
    })
  }

  #setStatus(status: SlaveStatus): void {
    if (status === this.#status) return
    this.#status = status
    this.events.emit('status', status)
  }
}

const newSession = (handlers: Handlers, clock: Clock, log: Log, token: string | undefined): Session =>
  new Session({ handlers, clock, log, ...(token === undefined ? {} : { token }) })
