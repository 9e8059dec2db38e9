/**
 * One slave as its master sees it. A session outlives its links: `hello` on a new one moves it there.
 *
 * Promises: it sends nothing that is not written; it keeps no queue of commits but a cursor in the authority's log; what
 * a slave does wrong ends that slave's link and nothing else.
 */
import type { ErrorCode } from '../errors.js'
import type { Encoded, Lane } from '../link/link.js'
import { envelope } from '../protocol/envelope.js'
import { PROTOCOL_VERSION } from '../protocol/version.js'
import type { Down, DownPayload, Up, UpPayload } from '../protocol/replication.js'
import type { Authority, Client, Outcome } from '../store/authority.js'
import type { SlaveLink } from './admission.js'
import { Calls, type Methods } from './methods.js'
import type { Publication } from './publication.js'
import type { Snapshot } from './snapshot.js'
import type { Terms } from './terms.js'

/** Changes of one slave that wait while another has a reservation; more ends the link. */
const MAX_HELD_CHANGES = 10_000

/** Answers above this many characters travel in the bulk lane, so that they delay no commit. */
const BULK_CHARACTERS = 64 * 1024

/**
 * Characters of volatile events that one slave may have sent on in a second, and at most saved up: a cursor at 60 frames a
 * second needs a quarter of it. More would take the room in everybody's links that commits need, so it is dropped.
 */
const VOLATILE_CHARACTERS_PER_SECOND = 256 * 1024
const MAX_VOLATILE_CHARACTERS = 2 * VOLATILE_CHARACTERS_PER_SECOND
/** What the smallest one counts as: to be sent on to a thousand slaves costs more than its characters. */
const LEAST_VOLATILE_CHARACTERS = 1024

/**
 * Characters of commits that a slave may be behind without being sent the state instead, however small that is: with
 * commits it hears every event. As many as a link takes before it has no more room.
 */
const LEAST_BACKLOG_CHARACTERS = 1024 * 1024

/** What a session needs of its master. */
export interface SessionHost {
  readonly term: string
  readonly terms: Terms
  readonly authority: Authority
  readonly publication: Publication
  readonly methods: Methods
  /** A volatile event of this slave, for everybody else. */
  volatile(from: Session, event: Extract<Up, { command: 'volatile' }>): void
  /** A change was taken or refused; what was held may go on. */
  answered(): void
  /** A change has to wait until the authority's reservation ends. */
  held(session: Session): void
  /** The link is gone; the session may yet resume. */
  linkClosed(session: Session): void
}

interface Joining {
  readonly snapshot: Snapshot
  next: number
  readonly off: () => void
}

type Change = Extract<Up, { command: 'emit' | 'mutate' }>

export class Session {
  readonly id: string
  readonly client: Client
  readonly #host: SessionHost
  readonly #calls: Calls
  #link: SlaveLink | undefined
  #unsubscribe: (() => void)[] = []
  /** The version of the latest commit given to the link; undefined before the link has all of its snapshot. */
  #cursor: number | undefined
  /** The snapshot that the link is being given, and its next message. */
  #joining: Joining | undefined
  #held: Change[] = []
  #volatileLeft = MAX_VOLATILE_CHARACTERS
  #volatileAt = 0

  constructor(id: string, client: Client, host: SessionHost) {
    this.id = id
    this.client = client
    this.#host = host
    this.#calls = new Calls(host.methods, client.client, (answer) => this.#answer(answer))
  }

  get link(): SlaveLink | undefined {
    return this.#link
  }

  /** A new link takes over. `known`: whether this client had been seen before. */
  attach(link: SlaveLink, hello: UpPayload<'hello'>, known: boolean): void {
    const before = this.#link
    this.#detach()
    this.#link = link
    if (before !== undefined) void before.close('moved', 'This session goes on over a newer connection')
    link.trust()
    this.#held = []
    this.#unsubscribe = [
      link.events.on('message', (message) => this.#receive(message)),
      link.events.on('room', () => this.#catchUp()),
      link.events.on('close', () => this.#closed(link)),
    ]
    const calls = hello.session === this.id ? this.#calls.resume(hello.calls) : []
    this.#welcome(hello.position, known ? this.client.lastSeq : undefined, calls)
  }

  /** The snapshot, and then written commits, go as far as the link has room. */
  pump(): void {
    const { authority, publication } = this.#host
    const link = this.#link
    if (link === undefined || !link.open) return
    if (this.#joining !== undefined) this.#join(link, this.#joining)
    if (this.#cursor === undefined) return
    while (this.#cursor < publication.written && link.hasRoom) {
      const entry = authority.entry(this.#cursor + 1)
      if (entry === undefined) return this.#welcome(undefined, this.client.lastSeq, [])
      link.send(entry.text as Encoded<Down>)
      this.#cursor++
    }
  }

  /** Whether a volatile event of this slave, so many characters long, may be sent on. `now` in milliseconds. */
  mayForward(characters: number, now: number): boolean {
    const earned = ((now - this.#volatileAt) / 1000) * VOLATILE_CHARACTERS_PER_SECOND
    this.#volatileLeft = Math.min(MAX_VOLATILE_CHARACTERS, this.#volatileLeft + earned)
    this.#volatileAt = now
    const cost = Math.max(LEAST_VOLATILE_CHARACTERS, characters)
    if (cost > this.#volatileLeft) return false
    this.#volatileLeft -= cost
    return true
  }

  /** A volatile event is for those who keep up. */
  volatile(text: Encoded<Down>): void {
    if (this.#link?.hasRoom === true && this.#cursor !== undefined) this.#link.send(text)
  }

  /** Changes that had to wait are judged again, in their order. */
  retryHeld(): void {
    const waiting = this.#held
    this.#held = []
    for (const change of waiting) this.#change(change)
  }

  /** No more of this session: its calls are cancelled, its link closed. */
  async end(code: ErrorCode, message: string): Promise<void> {
    const link = this.#link
    this.#detach()
    this.#calls.end()
    this.#host.authority.forget(this.client)
    await link?.close(code, message)
  }

  #welcome(position: UpPayload<'hello'>['position'], lastSeq: number | undefined, calls: number[]): void {
    const { authority, publication, term, terms } = this.#host
    const link = this.#link
    const { version } = authority
    const resumes =
      position !== undefined &&
      terms.hold(position) &&
      position.version <= version &&
      position.version >= authority.oldest
    const snapshot = resumes ? undefined : publication.snapshot()
    this.#leaveSnapshot()
    this.#cursor = undefined
    const welcome: DownPayload<'welcome'> = {
      version: PROTOCOL_VERSION,
      position: { term, version },
      by: resumes ? 'commits' : 'snapshot',
      client: this.client.client,
      session: this.id,
      calls,
      encoding: 'json',
      ...(lastSeq === undefined ? {} : { lastSeq }),
    }
    publication.after(() => {
      if (link === undefined || link !== this.#link) return
      link.send(envelope('welcome', welcome))
      if (snapshot === undefined) this.#cursor = position?.version ?? version
      else this.#joining = { snapshot, next: 0, off: snapshot.events.on('grown', () => this.pump()) }
      this.#calls.welcomed(calls)
      this.pump()
    })
  }

  #join(link: SlaveLink, joining: Joining): void {
    const { snapshot } = joining
    if (snapshot.failed) return void link.close('internal', "The master's state cannot be encoded: see its log")
    while (joining.next < snapshot.messages.length && link.hasRoom)
      link.send(snapshot.messages[joining.next++] as Encoded<Down>)
    if (!snapshot.complete || joining.next < snapshot.messages.length) return
    this.#leaveSnapshot()
    this.#cursor = snapshot.version
  }

  #leaveSnapshot(): void {
    this.#joining?.off()
    this.#joining = undefined
  }

  /** There is room again. Whoever fell behind by more than the whole state is sent the state instead. */
  #catchUp(): void {
    const { authority, publication } = this.#host
    const limit = Math.max(LEAST_BACKLOG_CHARACTERS, publication.snapshotCharacters ?? Infinity)
    if (this.#cursor !== undefined && authority.charactersSince(this.#cursor) > limit) {
      this.#welcome(undefined, this.client.lastSeq, [])
    } else {
      this.pump()
    }
  }

  #receive(message: Up): void {
    switch (message.command) {
      case 'emit':
      case 'mutate':
        if (this.#held.length > 0) this.#hold(message)
        else this.#change(message)
        return
      case 'volatile':
        return this.#host.volatile(this, message)
      case 'call':
        return this.#calls.call(message.payload)
      case 'cancel':
        return this.#calls.cancel(message.payload.call)
      case 'pong':
        return this.#calls.confirm(message.payload.lowestCall ?? 0)
      case 'hello':
        void this.#link?.close('invalid-message', 'A link says hello once')
        return
      case 'ping':
      case 'goodbye': // the link's own business
    }
  }

  #change(message: Change): void {
    if (this.#held.length > 0) return this.#hold(message)
    const { publication } = this.#host
    const { seq } = message.payload
    if (publication.failing && message.payload.prev === this.client.lastSeq) {
      const fault = { code: 'storage-full', message: 'The master cannot write its journal at present: try later' }
      this.#send(envelope('refused', { seq, version: publication.written, ...fault }), 'urgent')
      return
    }
    const outcome = this.#judge(message)
    if (outcome.outcome === 'held') {
      this.#hold(message)
      this.#host.held(this)
      return
    }
    if (outcome.outcome === 'refused') {
      const { code, message: sentence } = outcome
      const refused = { seq, version: this.#host.authority.version, code, message: sentence.slice(0, 2048) }
      publication.after(() => this.#send(envelope('refused', refused), 'urgent'))
    }
    if (outcome.outcome !== 'dropped') this.#host.answered()
  }

  #judge(message: Change): Outcome {
    const numbered = { id: message.uuid, at: message.timestamp }
    const { authority } = this.#host
    if (message.command === 'emit') return authority.emit(this.client, { ...message.payload, ...numbered })
    return authority.mutate(this.client, { ...message.payload, ...numbered }, this.#link?.roundTrip)
  }

  #hold(message: Change): void {
    if (this.#held.length < MAX_HELD_CHANGES) this.#held.push(message)
    else void this.#link?.close('too-many', `${MAX_HELD_CHANGES} changes wait already`)
  }

  #answer(answer: Omit<DownPayload<'answer'>, 'version'>): void {
    const { authority, publication } = this.#host
    const message = envelope('answer', { ...answer, version: authority.version })
    publication.after(() => {
      const text = JSON.stringify(message) as Encoded<Down>
      this.#send(text, text.length > BULK_CHARACTERS ? 'bulk' : 'urgent')
    })
  }

  #send(message: Down | Encoded<Down>, lane: Lane): void {
    this.#link?.send(message, lane)
  }

  #closed(link: SlaveLink): void {
    if (link !== this.#link) return
    this.#detach()
    this.#host.linkClosed(this)
  }

  #detach(): void {
    for (const off of this.#unsubscribe.splice(0)) off()
    this.#link = undefined
    this.#leaveSnapshot()
    this.#cursor = undefined
    this.#held = []
  }
}
