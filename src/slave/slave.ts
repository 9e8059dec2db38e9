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
import type { Leftovers } from './leftovers.js'
import type { Outbox } from './outbox.js'
import { isAbsence, Pursuit } from './pursuit.js'
import { RemoteStore, type RemoteStoreEvents } from './remote-store.js'
import { Session } from './session.js'
import type { Place } from './slots.js'

/** How long `disconnect` lets changes on their way be answered, in milliseconds. */
const FAREWELL_MS = 2000

/** There the databases of outboxes have names, and every tab needs one of its own. */
const IN_BROWSER = typeof indexedDB !== 'undefined'
const BROWSER_DATA = 'outbox'

export type SlaveStatus = 'disconnected' | 'connecting' | 'connected' | 'reconnecting'

export interface SlaveOptions<S = unknown> {
  /** Shown until the first state has come; without it `getState()` is undefined until then. */
  readonly initialState?: S
  /**
   * Where changes wait for the master: in 'memory' (default), or 'persistent': they outlive this process, a reload, a
   * closed tab, and each is still committed once. Use events for what is to be done offline: a mutate that comes out of
   * the outbox has lost its function, and is refused `conflict-not-repeatable` when others have changed what it writes.
   */
  readonly outbox?: 'memory' | 'persistent'
  /** Of a persistent outbox: its folder; in a browser the name of its databases, default 'outbox'. */
  readonly data?: string
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
  /** Of the persistent outbox, where there is to be one. */
  readonly #data: string | undefined
  #status: SlaveStatus = 'disconnected'
  #lastError: NamedMasterError | undefined
  #path: 'direct' | 'relay' | undefined
  #pursuit: Pursuit | undefined
  /** The name whose state and unanswered changes the session has. */
  #name: string | undefined
  /** A persistent outbox: being opened for a name, open, or being closed after a pursuit. */
  #opening: { readonly name: string; readonly done: Promise<void> } | undefined
  #outbox: Outbox | undefined
  #leftovers: Leftovers | undefined
  #closing: Promise<void> = Promise.resolve()

  /** No I/O happens before `connect`. @throws TypeError when an option is wrong, the name server's address included */
  constructor(url: string, options: SlaveOptions<S> = {}) {
    parseUrl(url)
    const policy = checkPolicy(options.iceTransportPolicy)
    const data = dataOf(options)
    const { clock = systemClock, log = consoleLog } = options
    const handlers = new Handlers((sentence) => log('warn', sentence))
    super(new Session({ handlers, clock, log, token: options.token }), { ...options, log })
    this.#data = data
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
   * @throws TypeError when it is connected, or connecting, to another name; NamedMasterError `invalid-name`, and of a
   * persistent outbox `storage-locked`, `storage-foreign`, `storage-newer`, `storage-damaged`, `storage-failed`
   */
  async connect(name: string, options: ConnectOptions = {}): Promise<boolean> {
    const wanted = normalizeName(name)
    if (wanted === undefined) throw new NamedMasterError('invalid-name', `${NAME_RULE}; "${name}" is not one`)
    const { name: present = wanted } = this.#pursuit ?? this.#opening ?? {}
    if (present !== wanted) {
      throw new TypeError(`connect: this slave is connected to "${present}"; call disconnect() first`)
    }
    if (this.#status === 'connected') return true
    if (this.#data !== undefined && this.#pursuit === undefined) await this.#open(wanted, this.#data)
    this.#pursuit ??= this.#pursue(wanted)
    if (options.wait === true) this.#pursuit.persistent = true
    return this.#reached(this.#pursuit, options)
  }

  /**
   * Ends the connection; what was sent is given two seconds to be answered. Always answers false. Idempotent. A persistent
   * outbox is let go once it is written; what is in there waits for a `connect` to the same name.
   */
  async disconnect(): Promise<false> {
    // It is for whoever connects to hear why it could not be opened.
    await this.#opening?.done.catch(() => undefined)
    const pursuit = this.#pursuit
    if (pursuit === undefined) return false
    if (this.#status === 'connected') await this.#farewell()
    await this.#end(pursuit)
    return false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.disconnect()
  }

  protected override caughtUp(): void {
    this.#lastError = undefined
    this.#setStatus('connected')
    this.#leftovers?.look()
  }

  #newSession(handlers: Handlers, outbox?: Outbox): Session {
    return new Session({ handlers, clock: this.#clock, log: this.#log, token: this.#options.token, outbox })
  }

  #use(session: Session): void {
    this.session = session
    this.#watch()
  }

  #watch(): void {
    this.session.events.on('pulse', () => this.#lookAtPath())
  }

  /** Opens the outbox of this name, and goes on with what is in there. */
  #open(name: string, data: string): Promise<void> {
    const open = async (): Promise<void> => {
      const [{ openOutbox }, { Leftovers }] = await Promise.all([import('./slots.js'), import('./leftovers.js')])
      const nameServer = parseUrl(this.#url).href
      const place: Place = { data, tabs: IN_BROWSER, nameServer, name, clock: this.#clock, log: this.#log }
      this.#outbox = await openOutbox(place)
      this.#use(this.#newSession(this.session.handlers, this.#outbox))
      if (!IN_BROWSER) return
      this.#leftovers = new Leftovers({
        place,
        // The program's handlers hear everything in its own session.
        newSession: (outbox) => this.#newSession(new Handlers(() => undefined), outbox),
        pursue: (session) => this.#newPursuit(name, session, false),
        refused: (refusal) => this.tellRefused(refusal),
      })
    }
    this.#opening ??= { name, done: open().finally(() => (this.#opening = undefined)) }
    return this.#opening.done
  }

  #pursue(name: string): Pursuit {
    if (this.#outbox === undefined && this.#name !== undefined && this.#name !== name) {
      this.session.abandon(new NamedMasterError('closed', 'The slave left for another master before this was answered'))
      this.#use(this.#newSession(this.session.handlers))
    }
    const absent = this.#name === name && this.#lastError !== undefined && isAbsence(this.#lastError.code)
    this.#name = name
    const pursuit = this.#newPursuit(name, this.session, absent)
    this.session.wake()
    pursuit.events.on('reached', () => this.#lookAtPath())
    pursuit.events.on('lost', () => {
      this.#path = undefined
      this.#lastError = pursuit.lastError
      this.#setStatus('reconnecting')
    })
    pursuit.events.on('over', () => {
      this.#path = undefined
      if (this.#outbox === undefined) this.#over(pursuit)
      else this.#closing = this.#close(this.#outbox).then(() => this.#over(pursuit))
    })
    this.#setStatus('connecting')
    return pursuit
  }

  #newPursuit(name: string, session: Session, lookFirst: boolean): Pursuit {
    return new Pursuit({
      url: this.#url,
      name,
      session,
      rtc: this.#options.rtc,
      iceTransportPolicy: this.#policy,
      lookFirst,
      clock: this.#clock,
      log: this.#log,
    })
  }

  async #close(outbox: Outbox): Promise<void> {
    try {
      await this.#leftovers?.close()
      await outbox.close()
    } catch (error) {
      this.#log('error', 'The outbox could not be closed', { error })
    }
    this.#outbox = undefined
    this.#leftovers = undefined
  }

  #over(pursuit: Pursuit): void {
    this.#pursuit = undefined
    this.session.rest()
    this.#lastError = pursuit.lastError
    this.#setStatus('disconnected')
  }

  /** Resolves when it is over, and the outbox is let go. */
  async #end(pursuit: Pursuit, why?: NamedMasterError): Promise<void> {
    await pursuit.end(why)
    await this.#closing
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
        const ended = this.#status === 'connecting' ? this.#end(pursuit, error) : Promise.resolve()
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

/** @throws TypeError */
function dataOf({ outbox = 'memory', data }: SlaveOptions): string | undefined {
  if (outbox === 'memory') return undefined
  if (outbox !== 'persistent') throw new TypeError("new Slave(url, { outbox }): it is 'memory' or 'persistent'")
  if (data !== undefined || IN_BROWSER) return data ?? BROWSER_DATA
  throw new TypeError("new Slave(url, { outbox: 'persistent', data }): name the folder of the outbox in data")
}
