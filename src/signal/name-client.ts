/**
 * The client of a name server: one Socket.IO connection, requests with answers, and what the server says by itself.
 * Used by masters and slaves, in Node and in browsers.
 *
 * Promises: the constructor does no I/O; every wait ends; after the first success the connection comes back by itself
 * until `close`, and each time it is back `status` says so (what to say again then, such as `renew`, is the caller's
 * part: nothing is repeated or kept here); an unreadable message of the server is dropped. After `close` nothing is left.
 */
import { io, type Socket } from 'socket.io-client'
import * as v from 'valibot'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import { Events } from '../events.js'
import { consoleLog, type Log } from '../log.js'
import { toErrorCode } from '../protocol/codes.js'
import { envelope, type Envelope } from '../protocol/envelope.js'
import {
  parseAcknowledgement,
  parseServerMessage,
  resultOf,
  SOCKET_PATH,
  type Candidate,
  type ClientCommand,
  type ClientPayload,
  type IceServer,
  type ResultOf,
  type ServerMessage,
  type ServerPayload,
} from '../protocol/naming.js'
import { OLDEST_VERSION, PROTOCOL_VERSION } from '../protocol/version.js'

/** Milliseconds for a connection or an answer. More than the 10 s that a name server gives a master to answer. */
export const DEFAULT_TIMEOUT_MS = 15_000

/** Milliseconds before the first new try after a lost connection, doubled each time up to the longest; half is jitter. */
const RECONNECT_DELAY_MS = 500
const MAX_RECONNECT_DELAY_MS = 5_000

type Status = 'connected' | 'disconnected'

export interface NameClientOptions {
  /** Milliseconds, for `connect` and `request` that name none. */
  readonly timeout?: number
  readonly log?: Log
  readonly clock?: Clock
}

export interface WaitOptions {
  readonly signal?: AbortSignal
  /** Milliseconds. */
  readonly timeout?: number
}

export interface NameClientEvents {
  status: [status: Status]
  /** May come before the `connect` that it belongs to has resolved: keep what names no introduction you know yet. */
  signal: [{ readonly introduction: string; readonly candidate: Candidate }]
  ended: [introduction: string]
  evicted: [{ readonly name: string; readonly claim: number }]
  available: [name: string]
}

export class NameClient {
  readonly events = new Events<NameClientEvents>()
  /** The master's: answers an introduction. A throw is answered as an error; so is its absence. */
  onIntroduction: ((payload: ServerPayload<'introduction'>) => Promise<ResultOf<'introduction'>>) | undefined

  readonly #url: URL
  readonly #timeout: number
  readonly #log: Log
  readonly #clock: Clock
  readonly #socket: Socket
  /** Those who wait for the welcome. */
  readonly #joining = new Set<(error?: NamedMasterError) => void>()
  /** Those who wait for an answer: it comes on this connection or never. */
  readonly #asking = new Set<(error: NamedMasterError) => void>()
  #status: Status = 'disconnected'
  #iceServers: readonly IceServer[] = []
  #versions: ServerPayload<'welcome'>['versions'] | undefined
  /** There was a connection: it is to come back. */
  #kept = false
  #closed = false
  /** For the welcome of a fresh connection, or until the next try after one that socket.io-client does not repeat. */
  #timer: unknown

  /**
   * @param url of the name server: http, https, ws or wss, with or without a path
   * @throws TypeError
   */
  constructor(url: string, options: NameClientOptions = {}) {
    this.#url = parseUrl(url)
    this.#timeout = options.timeout ?? DEFAULT_TIMEOUT_MS
    this.#log = options.log ?? consoleLog
    this.#clock = options.clock ?? systemClock
    this.#socket = io(this.#url.origin, {
      path: `${this.#url.pathname.replace(/\/+$/, '')}${SOCKET_PATH}`,
      transports: ['websocket', 'polling'],
      // Where a websocket does not get through, polling may.
      tryAllTransports: true,
      autoConnect: false,
      // A connection of its own for each client: closing one must not depend on another.
      forceNew: true,
      reconnectionDelay: RECONNECT_DELAY_MS,
      reconnectionDelayMax: MAX_RECONNECT_DELAY_MS,
      timeout: this.#timeout,
    })
    this.#socket.on('connect', () => {
      // Who accepts and says nothing is no name server; the next try may find one.
      this.#after(this.#timeout, () => this.#socket.io.engine.close())
    })
    this.#socket.on('message', (message: unknown, acknowledge: unknown) => this.#hear(message, acknowledge))
    this.#socket.on('disconnect', (reason) => this.#lost(reason))
    this.#socket.on('connect_error', (error) => this.#failed(refusalOf(error, this.#url)))
  }

  get status(): Status {
    return this.#status
  }

  /** As the name server last handed them out. */
  get iceServers(): readonly IceServer[] {
    return this.#iceServers
  }

  /** What the name server said it speaks, when it last welcomed us; also where it was too old or too new. */
  get versions(): ServerPayload<'welcome'>['versions'] | undefined {
    return this.#versions
  }

  /**
   * Connected and welcomed: at once when it is already.
   * @throws name-server-unreachable, timeout, aborted, unsupported-version, too-many, not-allowed, closed
   */
  async connect(options: WaitOptions = {}): Promise<void> {
    if (this.#closed) throw closed()
    if (this.#status === 'connected') return
    await this.#wait<void>(options, `The name server at ${this.#url.href}`, (resolve, reject) => {
      const join = (error?: NamedMasterError) => (error === undefined ? resolve() : reject(error))
      this.#joining.add(join)
      if (!this.#socket.active) this.#socket.connect()
      return () => {
        this.#joining.delete(join)
        // The last one to give up leaves nothing behind that tries on.
        if (this.#joining.size === 0 && !this.#kept) this.#rest()
      }
    })
  }

  /**
   * Asks, and answers what the name server answered.
   * @throws what the name server refuses with (`remote`), name-server-unreachable without a connection and when it is
   * lost meanwhile, timeout, aborted, invalid-message, closed
   */
  request<C extends ClientCommand>(
    command: C,
    payload: ClientPayload<C>,
    options: WaitOptions = {},
  ): Promise<ResultOf<C>> {
    if (this.#closed) return Promise.reject(closed())
    if (this.#status !== 'connected') return Promise.reject(unreachable(this.#url, 'it is not connected now'))
    return this.#wait<ResultOf<C>>(options, `The answer to ${command}`, (resolve, reject) => {
      const message = envelope(command, payload)
      this.#asking.add(reject)
      this.#socket.emit('message', message, (answer: unknown) => {
        try {
          resolve(readAnswer(command, message.uuid, answer))
        } catch (error) {
          reject(error)
        }
      })
      return () => this.#asking.delete(reject)
    })
  }

  /** Idempotent. Everybody who waits is told `closed`. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#rest()
    this.#lost('closed')
  }

  #hear(raw: unknown, acknowledge: unknown): void {
    const parsed = parseServerMessage(raw)
    if (!parsed.ok) {
      this.#log('warn', `A message of the name server was dropped: ${parsed.path}: ${parsed.reason}`)
      return
    }
    this.#act(parsed.value, acknowledge)
  }

  #act(message: ServerMessage, acknowledge: unknown): void {
    switch (message.command) {
      case 'welcome':
        return this.#welcomed(message.payload)
      case 'introduction':
        if (typeof acknowledge !== 'function') return
        void this.#introduced(message, acknowledge as (answer: Envelope) => void)
        return
      case 'signal':
        return this.events.emit('signal', message.payload)
      case 'ended':
        return this.events.emit('ended', message.payload.introduction)
      case 'evicted':
        return this.events.emit('evicted', message.payload)
      case 'available':
        return this.events.emit('available', message.payload.name)
    }
  }

  #welcomed({ versions, iceServers }: ServerPayload<'welcome'>): void {
    this.#clock.clearTimeout(this.#timer)
    this.#versions = versions
    if (versions.newest < OLDEST_VERSION || versions.oldest > PROTOCOL_VERSION) {
      this.#failed(unsupported(versions))
      if (!this.#kept) return
      // It may be on its way to another version.
      this.#rest()
      this.#after(MAX_RECONNECT_DELAY_MS, () => this.#socket.connect())
      return
    }
    this.#iceServers = iceServers
    this.#kept = true
    for (const join of [...this.#joining]) join()
    this.#turn('connected')
  }

  async #introduced(
    { payload, uuid }: Extract<ServerMessage, { command: 'introduction' }>,
    acknowledge: (answer: Envelope) => void,
  ): Promise<void> {
    try {
      if (this.onIntroduction === undefined)
        throw new NamedMasterError('master-offline', 'The master is not serving now')
      acknowledge(envelope('result', await this.onIntroduction(payload), uuid))
    } catch (thrown) {
      const error = NamedMasterError.from(thrown, 'internal', 'The master failed at this introduction: see its log')
      if (error.cause !== undefined) this.#log('error', error.message, { cause: error.cause })
      acknowledge(envelope('error', error.toFault(), uuid))
    }
  }

  #lost(reason: string): void {
    const error = this.#closed ? closed() : unreachable(this.#url, 'the connection was lost')
    this.#clock.clearTimeout(this.#timer)
    for (const reject of [...this.#asking]) reject(error)
    this.#failed(error)
    this.#turn('disconnected')
    // The one end after which socket.io-client stays away: a name server in trouble may do it to all at once.
    if (reason === 'io server disconnect' && this.#kept)
      this.#after(MAX_RECONNECT_DELAY_MS, () => this.#socket.connect())
  }

  /** This try is over: socket.io-client makes the next if there was a connection once. */
  #failed(error: NamedMasterError): void {
    for (const join of [...this.#joining]) join(error)
    if (!this.#kept) this.#rest()
  }

  #rest(): void {
    this.#clock.clearTimeout(this.#timer)
    this.#socket.disconnect()
  }

  #turn(status: Status): void {
    if (this.#status === status) return
    this.#status = status
    this.events.emit('status', status)
  }

  #after(milliseconds: number, act: () => void): void {
    this.#clock.clearTimeout(this.#timer)
    this.#timer = this.#clock.setTimeout(act, milliseconds)
  }

  /** A bounded wait. `begin` answers what ends it, however it ended. */
  #wait<T>(
    { signal, timeout = this.#timeout }: WaitOptions,
    what: string,
    begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (signal?.aborted === true) return reject(abortion(what, signal))
      const ending = { stop: () => undefined as unknown, over: false }
      const end = (settle: () => void) => {
        if (ending.over) return
        ending.over = true
        this.#clock.clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        ending.stop()
        settle()
      }
      const fail = (error: unknown) => end(() => reject(error))
      const abort = () => signal !== undefined && fail(abortion(what, signal))
      const late = () => fail(new NamedMasterError('timeout', `${what} did not come within ${timeout} ms: try again`))
      const timer = this.#clock.setTimeout(late, timeout)
      signal?.addEventListener('abort', abort)
      const stop = begin((value) => end(() => resolve(value)), fail)
      if (ending.over) stop()
      else ending.stop = stop
    })
  }
}

/** The address of a name server. @throws TypeError */
export function parseUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw new TypeError(`"${text}" is no URL of a name server: give one such as http://localhost:8002`)
  }
  // socket.io-client takes the origin, and ws: and wss: have none of their own in some engines.
  const scheme = { 'http:': 'http:', 'https:': 'https:', 'ws:': 'http:', 'wss:': 'https:' }[url.protocol]
  if (scheme === undefined)
    throw new TypeError(`"${text}" is no URL of a name server: it begins with http, https, ws or wss`)
  return new URL(`${scheme}//${url.host}${url.pathname}`)
}

function readAnswer<C extends ClientCommand>(command: C, uuid: string, answer: unknown): ResultOf<C> {
  const parsed = parseAcknowledgement(answer)
  if (parsed.ok && parsed.value.uuid === uuid) {
    if (parsed.value.command === 'error') throw NamedMasterError.fromFault(parsed.value.payload)
    const result = v.safeParse(resultOf[command], parsed.value.payload)
    if (result.success) return result.output
  }
  throw new NamedMasterError(
    'invalid-message',
    `The name server answered ${command} with what is no answer: check its version`,
  )
}

/** A name server that refuses a connection says why in the body that polling gets. */
function refusalOf(error: Error, url: URL): NamedMasterError {
  const text = (error as { context?: { responseText?: unknown } }).context?.responseText
  const reason = typeof text === 'string' ? /"message":"(not-allowed|too-many)"/.exec(text)?.[1] : undefined
  if (reason === undefined) return unreachable(url, error.message)
  const why = reason === 'too-many' ? 'there are too many from this address' : "this page's origin is not in its list"
  return new NamedMasterError(toErrorCode(reason), `The name server at ${url.href} refused the connection: ${why}`)
}

const unreachable = (url: URL, reason: string): NamedMasterError =>
  new NamedMasterError(
    'name-server-unreachable',
    `The name server at ${url.href} cannot be reached (${reason}): check its address and that it runs`,
  )

const unsupported = ({ oldest, newest }: { oldest: number; newest: number }): NamedMasterError =>
  new NamedMasterError(
    'unsupported-version',
    `The name server speaks versions ${oldest} to ${newest}, this end ${OLDEST_VERSION} to ${PROTOCOL_VERSION}: update the older of the two`,
  )

const closed = (): NamedMasterError => new NamedMasterError('closed', 'This client was closed: make a new one')

const abortion = (what: string, signal: AbortSignal): NamedMasterError =>
  new NamedMasterError('aborted', `${what} is no longer waited for`, { cause: signal.reason })
