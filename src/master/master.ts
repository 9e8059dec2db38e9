/**
 * Master: hosts a store under a name. It admits slaves, applies what they send, fans commits out.
 *
 * The life of a master: stopped -> starting -> started (-> reconnecting -> started)* -> stopped, or evicted by a newer
 * claim to its name, which is final until the program calls `startServer`.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { v7 } from 'uuid'
import type { RtcEngine } from '#rtc'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import { encode } from '../link/link.js'
import { consoleLog, type Log } from '../log.js'
import { envelope } from '../protocol/envelope.js'
import { NAME_RULE, normalizeName } from '../protocol/naming.js'
import type { CommittedEvent, Down, Up, UpPayload } from '../protocol/replication.js'
import { NameClient } from '../signal/name-client.js'
import { adopt, type ForeignStore } from '../store/adopt.js'
import { Authority, newClient, type Client } from '../store/authority.js'
import { coreOf, type StoreCore } from '../store/store.js'
import { Admission, type SlaveLink } from './admission.js'
import { Claim } from './claim.js'
import { openJournal, type Journal } from './journal.js'
import { Methods, type Method } from './methods.js'
import { Publication } from './publication.js'
import { Session, type SessionHost } from './session.js'

/** Slaves at once, unless the program says otherwise: about 300 KB and 17 file descriptors each under wrtc. */
const DEFAULT_MAX_SLAVES = 1000
/** How long a session outlives its link, in milliseconds: a train's tunnel. */
const SESSION_MS = 120_000
/** Clients remembered though they are away; the oldest are forgotten first, and told so when they return. */
const MAX_CLIENTS = 100_000

export type MasterStatus = 'stopped' | 'starting' | 'started' | 'reconnecting' | 'evicted' | 'closed'

export interface MasterOptions {
  /** A store of `createStore`, or any object with the contract's four methods. */
  readonly store: ForeignStore
  /** For a foreign store whose mutators change the state without a new reference: all of it is compared each time. */
  readonly inPlace?: boolean
  /** The folder of the master's own database: its secret keys. Absent: they live in memory. */
  readonly data?: string
  /** The secret key of the name, for a master without `data`: 43 characters, as a name server made it. */
  readonly key?: string
  /** The WebRTC engine; default: the browser's own, or wrtc. */
  readonly rtc?: RtcEngine
  /** Slaves at once; default 1000. */
  readonly maxSlaves?: number
  readonly log?: Log
  readonly clock?: Clock
}

export interface SlaveInfo {
  /** The public client number, as in `info.origin`. */
  readonly client: number
  /** Milliseconds; undefined before the first heartbeat. */
  readonly roundTrip: number | undefined
}

export interface MasterEvents extends Record<string, readonly unknown[]> {
  status: [status: MasterStatus]
  'slave-joined': [slave: { client: number }]
  'slave-left': [slave: { client: number }]
  /** Another master took the name with the right key. */
  evicted: [name: string]
}

export class Master {
  readonly events: Events<MasterEvents>
  readonly #url: string
  readonly #options: MasterOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #names: NameClient
  readonly #claim: Claim
  readonly #admission: Admission
  readonly #methods = new Methods()
  readonly #core: StoreCore
  readonly #authority: Authority
  readonly #publication: Publication
  readonly #host: SessionHost
  #status: MasterStatus = 'stopped'
  #journal: Journal | undefined
  /** startServer and stopServer, one at a time. */
  #turn: Promise<unknown> = Promise.resolve()
  /** By the hash of their secret, least recently seen first. */
  readonly #clients = new Map<string, Client>()
  #lastClient = 0
  readonly #sessions = new Map<Client, { readonly session: Session; expiry: unknown }>()
  /** Sessions with changes that wait for the authority's reservation to end. */
  readonly #holding = new Set<Session>()
  #holdTimer: unknown

  /** No I/O happens before `startServer`. @throws TypeError when the address of the name server is none */
  constructor(url: string, options: MasterOptions) {
    this.#url = url
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? consoleLog
    this.events = new Events<MasterEvents>((error) => this.#log('error', 'A listener of the master threw', { error }))
    this.#names = new NameClient(url, { log: this.#log, clock: this.#clock })
    this.#claim = new Claim(this.#names, this.#log)
    this.#admission = new Admission({
      names: this.#names,
      clock: this.#clock,
      rtc: options.rtc,
      maxSlaves: options.maxSlaves ?? DEFAULT_MAX_SLAVES,
      serves: () => this.#claim.name,
      admitted: (link, hello) => this.#welcome(link, hello),
    })
    this.#core = coreOf(options.store) ?? adopt(options.store, { inPlace: options.inPlace ?? false })
    this.#authority = new Authority(this.#core, {
      encode: (commit) => encode(envelope('commit', commit)),
      now: () => this.#clock.now(),
      admit: () => this.#publication.admit(),
      committed: (entry) => this.#publication.commit(entry),
      volatile: (event) => this.#forward(event, undefined),
    })
    this.#publication = new Publication(this.#core, this.#authority, {
      append: async (batch) => this.#journal?.append(batch),
      clock: this.#clock,
      log: this.#log,
      written: () => {
        for (const { session } of this.#sessions.values()) session.pump()
      },
    })
    this.#host = {
      term: v7(),
      authority: this.#authority,
      publication: this.#publication,
      methods: this.#methods,
      volatile: (from, event) => this.#volatileFrom(from, event),
      answered: () => this.#retryHeld(),
      held: (session) => this.#hold(session),
      linkClosed: (session) => this.#linkClosed(session),
    }
    this.#claim.events.on('reachable', (reachable) => this.#setStatus(reachable ? 'started' : 'reconnecting'))
    this.#claim.events.on('evicted', (name) => this.#evicted(name))
  }

  get status(): MasterStatus {
    return this.#status
  }

  /** The name served, while there is one. */
  get name(): string | undefined {
    return this.#claim.name
  }

  /** Those connected at present. */
  get slaves(): readonly SlaveInfo[] {
    const present = [...this.#sessions.values()].filter(({ session }) => session.link !== undefined)
    return present.map(({ session }) => ({ client: session.client.client, roundTrip: session.link?.roundTrip }))
  }

  /**
   * Claims the name and serves the store under it (seed document 2).
   * @returns `registered` the first time, `started` when the name is ours already, `exists` when it is somebody else's
   * @throws NamedMasterError `invalid-name`, `incorrect-key`, `name-server-unreachable`, `timeout`, `storage-locked`
   */
  startServer(name: string): Promise<'registered' | 'started' | 'exists'> {
    return this.#inTurn(async () => {
      if (this.#status === 'closed') throw new TypeError('startServer: this master is closed')
      const wanted = normalizeName(name)
      if (wanted === undefined) throw new NamedMasterError('invalid-name', `${NAME_RULE}; "${String(name)}" is none`)
      if (this.#claim.name === wanted) return 'started'
      if (this.#claim.name !== undefined) {
        throw new TypeError(`startServer: this master serves "${this.#claim.name}"; call stopServer() first`)
      }
      this.#setStatus('starting')
      try {
        this.#journal ??= await this.#openJournal()
        const answer = await this.#claim.take(wanted, this.#url, this.#journal, this.#options.key)
        this.#setStatus(answer === 'exists' ? 'stopped' : 'started')
        return answer
      } catch (error) {
        this.#setStatus('stopped')
        throw error
      }
    })
  }

  /** Stops serving: the name stays ours, slaves are disconnected and wait for it. Answers `stopped`, also when it was. */
  stopServer(): Promise<'stopped'> {
    return this.#inTurn<'stopped'>(async () => {
      await this.#claim.release()
      await this.#dismiss('stopped', 'The master has stopped; it may come back')
      if (this.#status !== 'closed') this.#setStatus('stopped')
      return 'stopped'
    })
  }

  /** Lets slaves call `name`. The method gets what they sent (JSON) and `{slave, signal}`; it may be asynchronous. */
  expose(name: string, method: Method): void {
    this.#methods.expose(name, method)
  }

  /** Lets slaves use methods of an object, each named here, through `slave.proxy(prefix)`. */
  exposeAll<T extends object>(prefix: string, target: T, methods: readonly (keyof T & string)[]): void {
    this.#methods.exposeAll(prefix, target, methods)
  }

  /** Stops serving and lets go of everything: the store is a local one again. Idempotent. */
  async close(): Promise<void> {
    if (this.#status === 'closed') return
    await this.stopServer()
    this.#setStatus('closed')
    this.#names.close()
    await this.#publication.close()
    this.#authority.close()
    await this.#journal?.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #openJournal(): Promise<Journal> {
    const { data, key } = this.#options
    if (data === undefined && key === undefined) {
      this.#log(
        'warn',
        'Without `data` the store and the key of its name live in memory, and are lost with this process',
      )
    }
    return openJournal(data)
  }

  #evicted(name: string): void {
    this.#setStatus('evicted')
    this.events.emit('evicted', name)
    void this.#inTurn(async () => {
      if (this.#claim.name === undefined) {
        await this.#dismiss('moved', 'The name belongs to another master now: connect again')
      }
    })
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(task)
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  #setStatus(status: MasterStatus): void {
    if (status === this.#status) return
    this.#status = status
    this.events.emit('status', status)
  }

  // --- sessions -----------------------------------------------------------------------------------------------------

  #welcome(link: SlaveLink, hello: UpPayload<'hello'>): void {
    const hash = bytesToHex(sha256(utf8ToBytes(hello.secret)))
    const before = this.#clients.get(hash)
    const client = before ?? newClient(++this.#lastClient)
    // Seen last: the oldest come first in the map, and are the first to be forgotten.
    this.#clients.delete(hash)
    this.#clients.set(hash, client)
    if (before === undefined) this.#publication.client({ client: client.client, hash, lastSeq: 0 })
    this.#forgetClients()
    const entry = this.#sessions.get(client) ?? { session: new Session(v7(), client, this.#host), expiry: undefined }
    this.#sessions.set(client, entry)
    this.#clock.clearTimeout(entry.expiry)
    const joins = entry.session.link === undefined
    entry.session.attach(link, hello, before !== undefined)
    if (joins) this.events.emit('slave-joined', { client: client.client })
  }

  #forgetClients(): void {
    for (const [hash, client] of this.#clients) {
      if (this.#clients.size <= MAX_CLIENTS) return
      if (!this.#sessions.has(client)) this.#clients.delete(hash)
    }
  }

  #linkClosed(session: Session): void {
    const entry = this.#sessions.get(session.client)
    if (entry === undefined) return
    entry.expiry = this.#clock.setTimeout(() => {
      this.#sessions.delete(session.client)
      void session.end('closed', 'The session has ended')
    }, SESSION_MS)
    this.events.emit('slave-left', { client: session.client.client })
  }

  async #dismiss(code: ErrorCode, message: string): Promise<void> {
    this.#clock.clearTimeout(this.#holdTimer)
    this.#holdTimer = undefined
    this.#holding.clear()
    const sessions = [...this.#sessions.values()]
    this.#sessions.clear()
    await Promise.all(
      sessions.map(async ({ session, expiry }) => {
        this.#clock.clearTimeout(expiry)
        const present = session.link !== undefined
        const ended = session.end(code, message)
        if (present) this.events.emit('slave-left', { client: session.client.client })
        await ended
      }),
    )
    await this.#admission.dismiss(code, message)
  }

  // --- what concerns several slaves -----------------------------------------------------------------------------------

  #volatileFrom(from: Session, { uuid, timestamp, payload }: Extract<Up, { command: 'volatile' }>): void {
    const event: CommittedEvent = { ...payload, id: uuid, at: timestamp }
    this.#core.volatile(event, { client: from.client.client })
    this.#forward(event, from)
  }

  #forward({ event, payload, id, at }: CommittedEvent, from: Session | undefined): void {
    const client = from === undefined ? {} : { client: from.client.client }
    const body = { event, ...(payload === undefined ? {} : { payload }), ...client }
    const text = encode<Down>(envelope('volatile', body, id, at))
    for (const { session } of this.#sessions.values()) if (session !== from) session.volatile(text)
  }

  #hold(session: Session): void {
    this.#holding.add(session)
    const until = this.#authority.reservedUntil
    if (this.#holdTimer !== undefined || until === undefined) return
    this.#holdTimer = this.#clock.setTimeout(() => {
      this.#holdTimer = undefined
      this.#retryHeld()
    }, until - this.#clock.now())
  }

  /** What was held is judged again once the reservation has ended. */
  #retryHeld(): void {
    const until = this.#authority.reservedUntil
    if (this.#holding.size === 0 || (until !== undefined && this.#clock.now() < until)) return
    const sessions = [...this.#holding]
    this.#holding.clear()
    for (const session of sessions) session.retryHeld()
  }
}
