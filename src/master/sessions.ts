/**
 * All slaves of one master: who is who, who is here, and what concerns several of them.
 *
 * Promises: a client is known by its secret alone; a session ends two minutes after its last link; every listener of
 * `joined` hears `left` once for it. Knows nothing of names, introductions or sockets: it is handed links.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { v7 } from 'uuid'
import type { Clock } from '../clock.js'
import type { ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import { encode, type Encoded } from '../link/link.js'
import type { Log } from '../log.js'
import { envelope } from '../protocol/envelope.js'
import type { CommittedEvent, Down, Up, UpPayload } from '../protocol/replication.js'
import { Authority, newClient, type Client } from '../store/authority.js'
import type { StoreCore } from '../store/store.js'
import type { SlaveLink } from './admission.js'
import type { JournalBatch } from './journal.js'
import type { Methods } from './methods.js'
import { Publication } from './publication.js'
import { Session, type SessionHost } from './session.js'
import type { Deflate } from './snapshot.js'

/** How long a session outlives its link, in milliseconds: a train's tunnel. */
const SESSION_MS = 120_000
/** Clients remembered though they are away; the oldest are forgotten first, and told so when they return. */
const MAX_CLIENTS = 100_000

export interface SlaveInfo {
  /** The public client number, as in `info.origin`. */
  readonly client: number
  /** Milliseconds; undefined before the first heartbeat. */
  readonly roundTrip: number | undefined
}

export interface SessionsEvents {
  joined: [slave: { readonly client: number }]
  left: [slave: { readonly client: number }]
}

export interface SessionsOptions {
  readonly core: StoreCore
  readonly methods: Methods
  /** The journal's. */
  readonly append: (batch: JournalBatch) => Promise<void>
  readonly deflate: Deflate
  readonly clock: Clock
  readonly log: Log
}

export class Sessions {
  readonly events: Events<SessionsEvents>
  readonly #clock: Clock
  readonly #core: StoreCore
  readonly #authority: Authority
  readonly #publication: Publication
  readonly #host: SessionHost
  /** By the hash of their secret, least recently seen first. */
  readonly #clients = new Map<string, Client>()
  #lastClient = 0
  /** Clients that may not know yet that they are new here, with the session their welcome named. */
  readonly #unheard = new WeakMap<Client, string>()
  readonly #sessions = new Map<Client, { readonly session: Session; expiry: unknown }>()
  /** Sessions with changes that wait for the authority's reservation to end. */
  readonly #holding = new Set<Session>()
  #holdTimer: unknown

  constructor({ core, methods, append, deflate, clock, log }: SessionsOptions) {
    this.#core = core
    this.#clock = clock
    this.events = new Events<SessionsEvents>((error) => log('error', 'A listener of the master threw', { error }))
    this.#authority = new Authority(core, {
      encode: (commit) => encode(envelope('commit', commit)),
      now: () => clock.now(),
      admit: () => this.#publication.admit(),
      committed: (entry) => this.#publication.commit(entry),
      volatile: (event) => this.#forward(encodeVolatile(event, {}), undefined),
    })
    this.#publication = new Publication(core, this.#authority, {
      append,
      deflate,
      clock,
      log,
      written: () => {
        for (const { session } of this.#sessions.values()) session.pump()
      },
    })
    this.#host = {
      term: v7(),
      authority: this.#authority,
      publication: this.#publication,
      methods,
      volatile: (from, event) => this.#volatileFrom(from, event),
      answered: () => this.#retryHeld(),
      held: (session) => this.#hold(session),
      linkClosed: (session) => this.#linkClosed(session),
    }
  }

  /** Those connected at present. */
  get present(): readonly SlaveInfo[] {
    const present = [...this.#sessions.values()].filter(({ session }) => session.link !== undefined)
    return present.map(({ session }) => ({ client: session.client.client, roundTrip: session.link?.roundTrip }))
  }

  /** A link whose slave has said hello: its session begins, or moves here. */
  welcome(link: SlaveLink, hello: UpPayload<'hello'>): void {
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
    entry.session.attach(link, hello, this.#knows(client, entry.session, hello, before === undefined))
    if (joins) this.events.emit('joined', { client: client.client })
  }

  /** Ends every session and its link; the clients are remembered. */
  async dismiss(code: ErrorCode, message: string): Promise<void> {
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
        if (present) this.events.emit('left', { client: session.client.client })
        await ended
      }),
    )
  }

  /** Lets go of the store once all is written, or cannot be. */
  async close(): Promise<void> {
    await this.#publication.close()
    this.#authority.close()
  }

  /**
   * Whether the client knows that it is known. That it is new must be heard: it would else repeat what it sent to an
   * earlier life of this master. So it is told again until its hello, or a change of its, shows that it was welcomed.
   */
  #knows(client: Client, session: Session, hello: UpPayload<'hello'>, isNew: boolean): boolean {
    const welcomedIn = this.#unheard.get(client)
    const unheard = isNew || (welcomedIn !== undefined && hello.session !== welcomedIn && client.lastSeq === 0)
    if (unheard) this.#unheard.set(client, session.id)
    else this.#unheard.delete(client)
    return !unheard
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
    this.events.emit('left', { client: session.client.client })
  }

  #volatileFrom(from: Session, { uuid, timestamp, payload }: Extract<Up, { command: 'volatile' }>): void {
    const event: CommittedEvent = { ...payload, id: uuid, at: timestamp }
    const { client } = from.client
    const text = encodeVolatile(event, { client })
    if (!from.mayForward(text.length, this.#clock.now())) return
    this.#core.volatile(event, { client })
    this.#forward(text, from)
  }

  #forward(text: Encoded<Down>, from: Session | undefined): void {
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

const encodeVolatile = (
  { event, payload, id, at }: CommittedEvent,
  from: { readonly client?: number },
): Encoded<Down> =>
  encode<Down>(envelope('volatile', { event, ...(payload === undefined ? {} : { payload }), ...from }, id, at))
