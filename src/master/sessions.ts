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
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import { encode, type Encoded } from '../link/link.js'
import type { Log } from '../log.js'
import { envelope } from '../protocol/envelope.js'
import type { CommittedEvent, Down, Up, UpPayload } from '../protocol/replication.js'
import { Authority, newClient, type Client } from '../store/authority.js'
import type { StoreCore } from '../store/store.js'
import type { SlaveLink } from './admission.js'
import type { JournalBatch, Moment } from './journal.js'
import type { ClientRecord, Kept } from './kept.js'
import type { Methods } from './methods.js'
import { Publication } from './publication.js'
import { Session, type SessionHost } from './session.js'
import type { Deflate } from './snapshot.js'
import { Terms, termsSince, type Term } from './terms.js'

/** How long a session outlives its link, in milliseconds: a train's tunnel. */
const SESSION_MS = 120_000
/** Clients remembered though they are away; the oldest are forgotten first, and told so when they return. */
const MAX_CLIENTS = 100_000
/** A client that nobody has seen for so long is forgotten: a laptop in a drawer. Milliseconds: 30 days. */
const FORGOTTEN_AFTER_MS = 2_592_000_000
/** When a client was last seen is written no more often than this. */
const SEEN_MS = 3_600_000

/** A client that is known here, and when it was last seen, in milliseconds since 1970. */
interface Known {
  readonly client: Client
  readonly hash: string
  seen: number
  /** It may not know yet that it is new here: the session that its welcome named. */
  unheard: string | undefined
}

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
  /** The time of day, in milliseconds since 1970; by default the machine's. */
  readonly date?: () => number
  readonly log: Log
}

export class Sessions {
  readonly events: Events<SessionsEvents>
  readonly #clock: Clock
  readonly #date: () => number
  readonly #core: StoreCore
  readonly #authority: Authority
  readonly #publication: Publication
  readonly #host: SessionHost
  /** By the hash of their secret, least recently seen first. */
  readonly #clients = new Map<string, Known>()
  #newestClient = 0
  #terms: Terms
  /** The store waits for what a journal kept. */
  #restoring = false
  /** While anybody is here, what is known of them is looked after. */
  #care: unknown
  readonly #sessions = new Map<Client, { readonly session: Session; expiry: unknown }>()
  /** Sessions with changes that wait for the authority's reservation to end. */
  readonly #holding = new Set<Session>()
  #holdTimer: unknown

  constructor({ core, methods, append, deflate, clock, date, log }: SessionsOptions) {
    this.#core = core
    this.#clock = clock
    this.#date = date ?? Date.now
    this.events = new Events<SessionsEvents>((error) => log('error', 'A listener of the master threw', { error }))
    this.#authority = new Authority(core, {
      encode: (commit) => encode(envelope('commit', commit)),
      now: () => clock.now(),
      admit: () => this.#admit(),
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
    const term = v7()
    const terms = (): Terms => this.#terms
    this.#terms = new Terms([], { term, from: core.version })
    this.#host = {
      term,
      get terms() {
        return terms()
      },
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

  /** This life of the master, as it begins. */
  get term(): Term {
    return { term: this.#host.term, from: this.#authority.version }
  }

  /** The state at this moment: see Moment. */
  moment(): Moment {
    return { version: this.#authority.version, state: this.#core.pin(), oldest: this.#authority.oldest }
  }

  /** From now until `restore` the store takes no changes of its program. */
  awaitRestore(): void {
    this.#restoring = true
  }

  /** What a journal kept takes the place of what is here; undefined: what is here is what is kept. Before anybody is welcomed. */
  restore(kept: Kept | undefined): void {
    this.#restoring = false
    if (kept === undefined) return
    const { state, version, entries, terms, clients, newestClient } = kept
    this.#authority.restore(state, version, entries)
    this.#publication.restored()
    this.#terms = new Terms(termsSince(terms, this.#authority.oldest), this.term)
    this.#newestClient = newestClient
    for (const { client, hash, seen, unheard, lastSeq } of clients.toSorted((a, b) => a.seen - b.seen)) {
      this.#newestClient = Math.max(this.#newestClient, client)
      this.#clients.set(hash, { client: newClient(client, lastSeq), hash, seen, unheard })
    }
  }

  /** A link whose slave has said hello: its session begins, or moves here. */
  welcome(link: SlaveLink, hello: UpPayload<'hello'>): void {
    const hash = bytesToHex(sha256(utf8ToBytes(hello.secret)))
    this.#forgetClients()
    const before = this.#clients.get(hash)
    const known = before ?? { client: newClient(++this.#newestClient), hash, seen: 0, unheard: undefined }
    const { client } = known
    // Seen last: the oldest come first in the map, and are the first to be forgotten.
    this.#clients.delete(hash)
    this.#clients.set(hash, known)
    const entry = this.#sessions.get(client) ?? { session: new Session(v7(), client, this.#host), expiry: undefined }
    this.#sessions.set(client, entry)
    this.#clock.clearTimeout(entry.expiry)
    const joins = entry.session.link === undefined
    const heard = this.#hasHeard(known, entry.session, hello, before === undefined)
    this.#see(known)
    this.#takeCare()
    entry.session.attach(link, hello, heard)
    if (joins) this.events.emit('joined', { client: client.client })
  }

  /** Ends every session and its link; the clients are remembered. */
  async dismiss(code: ErrorCode, message: string): Promise<void> {
    this.#clock.clearTimeout(this.#holdTimer)
    this.#holdTimer = undefined
    this.#holding.clear()
    this.#clock.clearTimeout(this.#care)
    this.#care = undefined
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
  #hasHeard(known: Known, session: Session, hello: UpPayload<'hello'>, isNew: boolean): boolean {
    const { unheard, client } = known
    const heard = !isNew && (unheard === undefined || hello.session === unheard || client.lastSeq > 0)
    const now = heard ? undefined : session.id
    // To be written, though it was seen just now.
    if (now !== unheard) known.seen = 0
    known.unheard = now
    return heard
  }

  /** It is here now: that is written, unless it was within the hour. */
  #see(known: Known): void {
    const now = this.#date()
    if (Math.abs(now - known.seen) < SEEN_MS) return
    known.seen = now
    this.#publication.client(toRecord(known))
  }

  /** Those who stay are seen, those who stay away are forgotten. */
  #takeCare(): void {
    this.#care ??= this.#clock.setTimeout(() => {
      this.#care = undefined
      for (const [hash, known] of [...this.#clients]) {
        if (!this.#sessions.has(known.client)) continue
        this.#clients.delete(hash)
        this.#clients.set(hash, known)
        this.#see(known)
      }
      this.#forgetClients()
      if (this.#sessions.size > 0) this.#takeCare()
    }, SEEN_MS)
  }

  #forgetClients(): void {
    const longAgo = this.#date() - FORGOTTEN_AFTER_MS
    for (const [hash, { client, seen }] of this.#clients) {
      if (this.#clients.size <= MAX_CLIENTS && seen >= longAgo) return
      if (this.#sessions.has(client)) continue
      this.#clients.delete(hash)
      this.#publication.forget(client.client)
    }
  }

  #admit(): void {
    if (this.#restoring) {
      const sentence = 'The store is being read from its data folder: wait for open() or startServer()'
      throw new NamedMasterError('store-busy', sentence)
    }
    this.#publication.admit()
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

const toRecord = ({ client, hash, seen, unheard }: Known): ClientRecord => ({
  client: client.client,
  hash,
  seen,
  ...(unheard === undefined ? {} : { unheard }),
})

const encodeVolatile = (
  { event, payload, id, at }: CommittedEvent,
  from: { readonly client?: number },
): Encoded<Down> =>
  encode<Down>(envelope('volatile', { event, ...(payload === undefined ? {} : { payload }), ...from }, id, at))
