/**
 * A master's half and slaves' halves, joined by hand: what one says is parsed as on the wire, and waits until the test
 * lets the other hear it.
 */
import { expect } from 'chai'
import { v7 } from 'uuid'
import { NamedMasterError } from '#src/errors.js'
import { envelope, type Parsed } from '#src/protocol/envelope.js'
import {
  parseDown,
  parseUp,
  type Down,
  type DownPayload,
  type Patch,
  type Up,
  type UpPayload,
} from '#src/protocol/replication.js'
import { Authority, newClient, type Client, type LogEntry, type Outcome } from '#src/store/authority.js'
import { Handlers, madeEvent, takePayload, type AnyHandler } from '#src/store/handlers.js'
import type { Microstore } from '#src/store/microstore.js'
import type { Outgoing, Refusal } from '#src/store/pending.js'
import { Replica, type ReplicaMessage } from '#src/store/replica.js'
import { coreOf, createStore, type StoreCore } from '#src/store/store.js'

/** Any message as its reader has it. */
function travelled<T>(parse: (value: unknown) => Parsed<T>, message: unknown): T {
  const parsed = parse(JSON.parse(JSON.stringify(message)))
  if (!parsed.ok) expect.fail(`${parsed.path}: ${parsed.reason}`)
  return parsed.value
}

type ChangePayload = UpPayload<'emit'> | UpPayload<'mutate'>

export class Host<S> {
  readonly store: Microstore<S>
  readonly core: StoreCore
  authority: Authority
  term = v7()
  now = 0
  /** Whether its journal cannot be written. */
  full = false
  readonly committed: LogEntry[] = []
  readonly volatiles: string[] = []
  #clients = 0

  constructor(initial: S, core?: StoreCore) {
    this.store = createStore(initial)
    const own = core ?? coreOf(this.store)
    if (own === undefined) expect.fail('a store has a core')
    this.core = own
    this.authority = this.#newAuthority()
  }

  get state(): S {
    return this.core.value as unknown as S
  }

  #newAuthority(): Authority {
    return new Authority(this.core, {
      encode: (commit) => JSON.stringify(envelope('commit', commit)),
      now: () => this.now,
      admit: () => {
        if (this.full) throw new NamedMasterError('storage-full', 'full')
      },
      committed: (entry) => void this.committed.push(entry),
      volatile: ({ event }) => void this.volatiles.push(event),
    })
  }

  /** Killed and started again: what it knew is known, its log is gone, and it is another life. */
  restart(): void {
    this.authority.close()
    this.authority = this.#newAuthority()
    this.term = v7()
  }

  client(): Client {
    return newClient(++this.#clients)
  }

  /** A slave that has the state. */
  join(): Guest<S> {
    const guest = new Guest<S>(this, this.client())
    guest.link({ known: false })
    return guest
  }

  /** A change of some client, as the authority has it. */
  emit(client: Client, event: string, payload: Partial<UpPayload<'emit'>> = {}): Outcome {
    const { seq = client.lastSeq + 1, prev = client.lastSeq } = payload
    return this.authority.emit(client, { id: v7(), at: this.now, event, ...payload, seq, prev })
  }

  mutate(client: Client, patch: Patch, given: Partial<UpPayload<'mutate'>> = {}, roundTrip?: number): Outcome {
    const { seq = client.lastSeq + 1, prev = client.lastSeq, base = this.authority.version } = given
    return this.authority.mutate(client, { id: v7(), at: this.now, patch, seq, prev, base }, roundTrip)
  }
}

/** A slave: what it says is in `up`, what it will hear in `down`. */
export class Guest<S> {
  readonly handlers: Handlers
  readonly replica: Replica
  client: Client
  readonly warnings: string[] = []
  readonly reported: unknown[] = []
  readonly told: (readonly string[])[] = []
  readonly versions: number[] = []
  readonly refused: Refusal[] = []
  readonly caughtUp: { by: string; lost: readonly number[]; first: boolean }[] = []
  up: Outgoing[] = []
  down: ReplicaMessage[] = []
  host: Host<S>
  #cursor = 0

  constructor(host: Host<S>, client: Client) {
    this.host = host
    this.client = client
    this.handlers = new Handlers((sentence) => void this.warnings.push(sentence))
    this.replica = new Replica({ handlers: this.handlers, report: (error) => void this.reported.push(error) })
    this.replica.events.on('changed', ({ paths, version }) => {
      this.told.push(paths)
      this.versions.push(version)
    })
    this.replica.events.on('refused', (refusal) => void this.refused.push(refusal))
    this.replica.events.on('caughtUp', (how) => void this.caughtUp.push(how))
  }

  get state(): S {
    return this.replica.value as unknown as S
  }
  get codes(): string[] {
    return this.refused.map(({ error }) => error.code)
  }

  on(event: string | RegExp, handler: (state: S, payload: never, info: never) => unknown): () => void {
    return this.handlers.on(event, handler as AnyHandler)
  }

  emit(event: string, payload?: unknown): void {
    const taken = takePayload(payload)
    if (!this.handlers.emittedInside(event, taken)) this.replica.emit(madeEvent(event, taken))
  }

  mutate(mutator: (state: S) => unknown): void {
    this.replica.mutate(mutator as (state: unknown) => unknown, v7(), Date.now())
  }

  /** What may leave, leaves. */
  send(): ChangePayload[] {
    const sent = this.replica.sendable().map(({ command, payload, id, at }) => {
      const message = travelled<Up>(parseUp, envelope(command, payload, id, at))
      this.up.push({ command, payload: message.payload, id, at } as Outgoing)
      return message.payload as ChangePayload
    })
    return sent
  }

  /** The master takes what has been sent; refusals are on their way then. What is held stays. */
  take(): Outcome[] {
    const changes = this.up.splice(0)
    return changes.map(({ command, payload, id, at }, i) => {
      if (this.up.length > 0) return { outcome: 'held' }
      const { authority } = this.host
      const outcome =
        command === 'emit'
          ? authority.emit(this.client, { ...payload, id, at })
          : authority.mutate(this.client, { ...payload, id, at })
      if (outcome.outcome === 'held') this.up = changes.slice(i)
      if (outcome.outcome === 'refused') {
        const { code, message } = outcome
        this.tell({ command: 'refused', payload: { seq: payload.seq, version: authority.version, code, message } })
      }
      return outcome
    })
  }

  tell(...messages: { command: ReplicaMessage['command']; payload: unknown }[]): void {
    for (const { command, payload } of messages) {
      this.down.push(travelled<Down>(parseDown, envelope(command, payload)) as ReplicaMessage)
    }
  }

  /** Hears what is on its way, in one batch: refusals come before the commits, as on a link. */
  hear(): void {
    const { authority } = this.host
    while (this.#cursor < authority.version) {
      const entry = authority.entry(++this.#cursor)
      if (entry === undefined) expect.fail(`version ${this.#cursor} is gone`)
      this.tell({ command: 'commit', payload: entry.commit })
    }
    const messages = this.down
    this.down = []
    if (messages.length > 0) this.replica.receive(messages)
  }

  /** Once there and back. */
  turn(): Outcome[] {
    this.send()
    const outcomes = this.take()
    this.hear()
    return outcomes
  }

  /** Until nothing is pending. */
  settle(): void {
    for (let turns = 0; this.replica.pending > 0; turns++) {
      if (turns === 20) expect.fail('it does not settle')
      this.turn()
    }
  }

  /** What is in flight is lost. */
  cut(): void {
    this.up = []
    this.down = []
    this.replica.relink()
  }

  /** A new link: hello, and its answer is heard at once unless told otherwise. */
  link(how: { known?: boolean; hears?: boolean; snapshot?: DownPayload<'snapshot'> } = {}): void {
    const { authority, term, core } = this.host
    this.cut()
    const { position } = this.replica
    const resumes = how.snapshot === undefined && position?.term === term && position.version >= authority.oldest
    const welcome: DownPayload<'welcome'> = {
      version: 1,
      position: { term, version: authority.version },
      by: resumes ? 'commits' : 'snapshot',
      client: this.client.client,
      session: v7(),
      calls: [],
      encoding: 'json',
      ...(how.known === false ? {} : { lastSeq: this.client.lastSeq }),
    }
    this.tell({ command: 'welcome', payload: welcome })
    const snapshot = how.snapshot ?? { version: authority.version, state: core.value as never }
    if (!resumes) this.tell({ command: 'snapshot', payload: snapshot })
    this.#cursor = resumes ? position.version : snapshot.version
    if (how.hears !== false) this.hear()
  }
}

/** Several slaves, until nothing is pending and all have heard all. */
export function settle(...guests: readonly Guest<unknown>[]): void {
  for (const guest of guests) guest.settle()
  for (const guest of guests) guest.hear()
}
