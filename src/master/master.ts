/**
 * Master: hosts a store under a name. It claims the name, admits slaves, applies what they send, fans commits out.
 *
 * The life of a master: stopped -> starting -> started (-> reconnecting -> started)* -> stopped, or evicted by a newer
 * claim to its name, which is final until the program calls `startServer`.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { v7 } from 'uuid'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import type { Channel } from '../link/channel.js'
import { Connection } from '../link/datachannel.js'
import { createLink, encode } from '../link/link.js'
import { consoleLog, type Log } from '../log.js'
import { loadRtc, type RtcEngine } from '#rtc'
import { envelope } from '../protocol/envelope.js'
import { NAME_RULE, normalizeName, type ResultOf, type ServerPayload } from '../protocol/naming.js'
import { parseUp, type CommittedEvent, type Down, type Up, type UpPayload } from '../protocol/replication.js'
import { OLDEST_VERSION, PROTOCOL_VERSION } from '../protocol/version.js'
import { NameClient } from '../signal/name-client.js'
import { newSecret } from '../signal/secret.js'
import { adopt, type ForeignStore } from '../store/adopt.js'
import { Authority, newClient, type Client } from '../store/authority.js'
import { coreOf, type StoreCore } from '../store/store.js'
import { MemoryJournal, openJournal, type Journal } from './journal.js'
import { Methods, type Method } from './methods.js'
import { Publication } from './publication.js'
import { Session, type SessionHost, type SlaveLink } from './session.js'

/** Bytes of one message from a slave. A change larger than this is better a file. */
const MAX_UP_MESSAGE_BYTES = 16 * 1024 * 1024
/** Bytes a link may send before its slave was welcomed. */
const STRANGER_BYTES = 64 * 1024
/** Slaves at once, unless the program says otherwise: about 300 KB and 17 file descriptors each under wrtc. */
const DEFAULT_MAX_SLAVES = 1000
/** From an introduction to an open channel, in milliseconds: a slow TURN allocation takes seconds. */
const OPEN_TIMEOUT_MS = 30_000
/** From an open channel to a hello, in milliseconds. */
const HELLO_TIMEOUT_MS = 10_000
/** How long a session outlives its link, in milliseconds: a train's tunnel. */
const SESSION_MS = 120_000
/** Between pings to a slave, in milliseconds: three of them go missing before it counts as dead. */
const PING_MS = 3000
/** Silence after which a slave counts as dead, in milliseconds; browsers wake a hidden page once a minute only. */
const SILENCE_MS = 10_000
const HIDDEN_SILENCE_MS = 90_000
/** Clients remembered though they are away; the oldest are forgotten first, and told so when they return. */
const MAX_CLIENTS = 100_000
/** A claim of a name and all its retries, in milliseconds. */
const CLAIM_TIMEOUT_MS = 30_000

export type MasterStatus = 'stopped' | 'starting' | 'started' | 'reconnecting' | 'evicted' | 'closed'

export interface MasterOptions {
  /** A store of `createStore`, or any object with the contract's four methods (see `adopt`). */
  readonly store: ForeignStore
  /** For a foreign store whose mutators change the state without a new reference: all of it is compared. */
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

interface Claim {
  readonly name: string
  readonly key: string
  readonly claim: number
}

export class Master {
  readonly events: Events<MasterEvents>
  readonly #url: string
  readonly #options: MasterOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #names: NameClient
  readonly #methods = new Methods()
  readonly #core: StoreCore
  readonly #authority: Authority
  readonly #publication: Publication
  readonly #host: SessionHost
  readonly #term = v7()

  #status: MasterStatus = 'stopped'
  #journal: Journal | undefined
  #claim: Claim | undefined
  /** One claim or release at a time. */
  #turn: Promise<unknown> = Promise.resolve()
  readonly #connections = new Map<string, Connection>()
  readonly #strangers = new Set<SlaveLink>()
  /** Clients by the hash of their secret, least recently seen first. */
  readonly #clients = new Map<string, Client>()
  readonly #sessions = new Map<Client, { readonly session: Session; expiry: unknown }>()
  readonly #holding = new Set<Session>()
  #holdTimer: unknown
  #lastClient = 0
  /** Connections whose channel has opened: the end of their introduction means nothing to them. */
  readonly #opened = new WeakSet<Connection>()

  /** No I/O happens before `startServer`. */
  constructor(url: string, options: MasterOptions) {
    this.#url = url
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? consoleLog
    const report = (error: unknown): void => this.#log('error', 'A listener of the master threw', { error })
    this.events = new Events<MasterEvents>(report)
    this.#names = new NameClient(url, { log: this.#log, clock: this.#clock })
    this.#core = coreOf(options.store) ?? adopt(options.store, { inPlace: options.inPlace ?? false })
    this.#authority = new Authority(this.#core, {
      encode: (commit) => encode(envelope('commit', commit)),
      now: () => this.#clock.now(),
      admit: () => this.#publication.admit(),
      committed: (entry) => this.#publication.commit(entry),
      volatile: (event) => this.#forward(event, undefined),
    })
    this.#publication = new Publication(this.#core, this.#authority, {
      journal: { append: async (batch) => this.#journal?.append(batch) },
      clock: this.#clock,
      log: this.#log,
      written: () => {
        for (const { session } of this.#sessions.values()) session.pump()
      },
    })
    this.#host = {
      term: this.#term,
      authority: this.#authority,
      publication: this.#publication,
      methods: this.#methods,
      volatile: (from, event) => this.#volatileFrom(from, event),
      answered: () => this.#retryHeld(),
      held: (session) => this.#hold(session),
      linkClosed: (session) => this.#linkClosed(session),
    }
    this.#names.onIntroduction = (introduction) => this.#introduce(introduction)
    this.#names.events.on('signal', ({ introduction, candidate }) => {
      void this.#connections.get(introduction)?.addCandidate(candidate)
    })
    this.#names.events.on('ended', (introduction) => this.#introductionEnded(introduction))
    this.#names.events.on('evicted', ({ name, claim }) => {
      if (name === this.#claim?.name && claim > this.#claim.claim) void this.#evict()
    })
    this.#names.events.on('status', (status) => this.#nameServer(status))
  }

  get status(): MasterStatus {
    return this.#status
  }

  /** The name served, while there is one. */
  get name(): string | undefined {
    return this.#claim?.name
  }

  /** Those connected at present. */
  get slaves(): readonly SlaveInfo[] {
    return [...this.#sessions.values()]
      .filter(({ session }) => session.link !== undefined)
      .map(({ session }) => ({ client: session.client.client, roundTrip: session.link?.roundTrip }))
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
      if (this.#claim !== undefined) {
        if (this.#claim.name === wanted) return 'started'
        throw new TypeError(`startServer: this master serves "${this.#claim.name}"; call stopServer() first`)
      }
      this.#setStatus('starting')
      try {
        const answer = await this.#register(wanted)
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
    return this.#inTurn(async () => {
      await this.#release()
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

  // --- the name -------------------------------------------------------------------------------------------------

  async #register(name: string): Promise<'registered' | 'started' | 'exists'> {
    this.#journal ??= await this.#openJournal()
    const kept = this.#options.key ?? (await this.#journal.key(this.#url, name))
    // Repeated until it is answered: the attempt makes a lost answer harmless.
    const attempt = newSecret()
    const signal = AbortSignal.timeout(CLAIM_TIMEOUT_MS)
    const answer = await this.#ask(name, kept, attempt, signal)
    if (answer.answer === 'exists') return 'exists'
    const key = answer.answer === 'registered' ? answer.key : (kept ?? '')
    if (answer.answer === 'registered') {
      await this.#journal.keepKey(this.#url, name, key)
      await this.#names.request('confirm', { name, key }, { signal })
    }
    this.#claim = { name, key, claim: answer.claim }
    return answer.answer
  }

  async #ask(
    name: string,
    key: string | undefined,
    attempt: string,
    signal: AbortSignal,
  ): Promise<ResultOf<'startServer'>> {
    for (let tries = 0; ; tries++) {
      await this.#names.connect({ signal })
      try {
        return await this.#names.request('startServer', { name, attempt, ...(key === undefined ? {} : { key }) }, { signal })
      } catch (error) {
        const lost = error instanceof NamedMasterError && !error.remote && error.code === 'name-server-unreachable'
        if (!lost || tries === 2) throw error
        this.#log('warn', 'The answer to startServer was lost; asking again', { name })
      }
    }
  }

  async #openJournal(): Promise<Journal> {
    if (this.#options.data !== undefined) return openJournal(this.#options.data)
    this.#log('info', 'Without `data` the store and the key of its name live in memory and end with this process')
    return new MemoryJournal()
  }

  async #release(): Promise<void> {
    const claim = this.#claim
    this.#claim = undefined
    if (claim !== undefined) {
      const { name, key } = claim
      await this.#names.request('stopServer', { name, key }).catch((error: unknown) => {
        // Without its socket the name server finds the name offline by itself.
        this.#log('warn', 'The name server could not be told that the master stops', { error })
      })
    }
    await this.#dismiss('stopped', 'The master has stopped; it may come back')
  }

  /** After a lost socket the claim is renewed; a name server that lost its data is refilled. */
  #nameServer(status: 'connected' | 'disconnected'): void {
    if (status === 'disconnected') {
      if (this.#status === 'started') this.#setStatus('reconnecting')
      return
    }
    if (this.#status !== 'reconnecting') return
    void this.#inTurn(async () => {
      const claim = this.#claim
      if (claim === undefined || this.#status !== 'reconnecting') return
      try {
        const renewed = await this.#renew(claim)
        if (renewed === undefined) return await this.#evict()
        this.#claim = renewed
        this.#setStatus('started')
      } catch (error) {
        // The socket went again: the next connection renews.
        this.#log('warn', 'The claim could not be renewed', { error })
      }
    })
  }

  async #renew({ name, key, claim }: Claim): Promise<Claim | undefined> {
    try {
      const renewed = await this.#names.request('renew', { name, key, claim })
      return renewed.answer === 'renewed' ? { name, key, claim: renewed.claim } : undefined
    } catch (error) {
      if (!(error instanceof NamedMasterError) || error.code !== 'not-registered') throw error
      const again = await this.#names.request('startServer', { name, key, attempt: newSecret() })
      if (again.answer === 'exists') return undefined
      if (again.answer === 'registered') await this.#names.request('confirm', { name, key })
      return { name, key, claim: again.claim }
    }
  }

  async #evict(): Promise<void> {
    const claim = this.#claim
    if (claim === undefined) return
    this.#claim = undefined
    this.#setStatus('evicted')
    this.events.emit('evicted', claim.name)
    await this.#dismiss('moved', 'The name belongs to another master now: connect again')
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(task, task)
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  #setStatus(status: MasterStatus): void {
    if (status === this.#status) return
    this.#status = status
    this.events.emit('status', status)
  }

  // --- slaves ---------------------------------------------------------------------------------------------------

  async #introduce({ introduction, name, offer }: ServerPayload<'introduction'>): Promise<ResultOf<'introduction'>> {
    if (name !== this.#claim?.name) throw new NamedMasterError('master-offline', 'This master does not serve that name now')
    const max = this.#options.maxSlaves ?? DEFAULT_MAX_SLAVES
    if (this.#connections.size >= max) throw new NamedMasterError('too-many', `The master has ${max} slaves already`)
    const rtc = this.#options.rtc ?? (await loadRtc())
    const connection = Connection.answering(rtc, {
      iceServers: this.#names.iceServers,
      clock: this.#clock,
    })
    this.#connections.set(introduction, connection)
    connection.events.on('candidate', (candidate) => {
      this.#names.request('signal', { introduction, candidate }).catch(() => {
        // Whoever it was for is gone, or the name server is: the deadline tells.
      })
    })
    const deadline = this.#clock.setTimeout(() => void connection.close(), OPEN_TIMEOUT_MS)
    connection.events.on('open', (channel) => {
      this.#clock.clearTimeout(deadline)
      this.#opened.add(connection)
      void this.#names.request('opened', { introduction }).catch(() => undefined)
      this.#greet(this.#link(channel))
    })
    connection.events.on('closed', () => {
      this.#clock.clearTimeout(deadline)
      this.#connections.delete(introduction)
    })
    try {
      return { answer: await connection.answer(offer) }
    } catch (error) {
      void connection.close()
      throw NamedMasterError.from(error, 'invalid-message', 'The offer is no session description that can be answered')
    }
  }

  /** The other end is gone from the name server: what is not open by now will not open. */
  #introductionEnded(introduction: string): void {
    const connection = this.#connections.get(introduction)
    if (connection !== undefined && !this.#opened.has(connection)) void connection.close()
  }

  #link(channel: Channel): SlaveLink {
    let session: (() => Session | undefined) | undefined
    const link: SlaveLink = createLink<Up, Down>(channel, {
      parse: parseUp,
      maxMessageBytes: MAX_UP_MESSAGE_BYTES,
      strangerBytes: STRANGER_BYTES,
      heartbeat: {
        interval: PING_MS,
        silence: () => (session?.()?.hidden === true ? HIDDEN_SILENCE_MS : SILENCE_MS),
      },
      clock: this.#clock,
    })
    session = () => [...this.#sessions.values()].find((entry) => entry.session.link === link)?.session
    return link
  }

  /** A link is a stranger until it has said hello; everything else it says first ends it. */
  #greet(link: SlaveLink): void {
    this.#strangers.add(link)
    const deadline = this.#clock.setTimeout(() => {
      void link.close('silent', 'No hello came within 10 seconds')
    }, HELLO_TIMEOUT_MS)
    const done = (): void => {
      this.#clock.clearTimeout(deadline)
      this.#strangers.delete(link)
      off()
    }
    const off = link.events.on('message', (message) => {
      if (message.command !== 'hello') {
        if (message.command !== 'pong') void link.close('invalid-message', 'The first message must be hello')
        return
      }
      done()
      this.#welcome(link, message.payload)
    })
    link.events.on('close', done)
  }

  #welcome(link: SlaveLink, hello: UpPayload<'hello'>): void {
    const { oldest, newest } = hello.versions
    if (newest < OLDEST_VERSION || oldest > PROTOCOL_VERSION) {
      const spoken = `${OLDEST_VERSION} to ${PROTOCOL_VERSION}`
      void link.close('unsupported-version', `The master speaks protocol ${spoken}, the slave ${oldest} to ${newest}`)
      return
    }
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

  /** Ends every link: those of slaves, of strangers, and what was about to become one. */
  async #dismiss(code: ErrorCode, message: string): Promise<void> {
    const closing = [...this.#strangers].map((link) => link.close(code, message))
    for (const [client, { session, expiry }] of [...this.#sessions]) {
      this.#clock.clearTimeout(expiry)
      this.#sessions.delete(client)
      const present = session.link !== undefined
      closing.push(session.end(code, message))
      if (present) this.events.emit('slave-left', { client: client.client })
    }
    await Promise.all(closing)
    await Promise.all([...this.#connections.values()].map((connection) => connection.close()))
  }

  // --- what concerns several slaves -------------------------------------------------------------------------------

  #volatileFrom(from: Session, { uuid, timestamp, payload }: Extract<Up, { command: 'volatile' }>): void {
    const event: CommittedEvent = { ...payload, id: uuid, at: timestamp }
    this.#core.volatile(event, { client: from.client.client })
    this.#forward(event, from)
  }

  #forward({ event, payload, id, at }: CommittedEvent, from: Session | undefined): void {
    const client = from === undefined ? {} : { client: from.client.client }
    const text = encode<Down>(envelope('volatile', { event, ...(payload === undefined ? {} : { payload }), ...client }, id, at))
    for (const { session } of this.#sessions.values()) if (session !== from) session.volatile(text)
  }

  #hold(session: Session): void {
    this.#holding.add(session)
    const until = this.#authority.reservedUntil
    if (this.#holdTimer !== undefined || until === undefined) return
    this.#holdTimer = this.#clock.setTimeout(() => this.#retryHeld(), Math.max(0, until - this.#clock.now()))
  }

  /** What was held is judged again once the reservation has ended. */
  #retryHeld(): void {
    if (this.#holding.size === 0) return
    const until = this.#authority.reservedUntil
    if (until !== undefined && this.#clock.now() < until) return
    this.#clock.clearTimeout(this.#holdTimer)
    this.#holdTimer = undefined
    const sessions = [...this.#holding]
    this.#holding.clear()
    for (const session of sessions) session.retryHeld()
  }
}
