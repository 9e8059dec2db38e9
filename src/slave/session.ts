/**
 * A slave's side of its session with a master, which outlives the links it goes over: hello, the state, the changes that
 * are not answered, the calls.
 *
 * Promises: the messages of one frame are taken together; nothing leaves before it may (replica.ts, calls.ts); a master
 * that sends what cannot be costs the link, and the state is asked for anew. With an outbox a change is written there before
 * it is sent, and deleted before the program is told what became of it.
 */
import type { Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import { Events } from '../events.js'
import { utf8Bytes } from '../link/frames.js'
import { encode, type Link } from '../link/link.js'
import type { Log } from '../log.js'
import { envelope } from '../protocol/envelope.js'
import type { CommittedEvent, Down, DownPayload, Up, UpPayload } from '../protocol/replication.js'
import { OLDEST_VERSION, PROTOCOL_VERSION } from '../protocol/version.js'
import { newSecret } from '../signal/secret.js'
import type { Handlers } from '../store/handlers.js'
import type { Refusal } from '../store/pending.js'
import { Assembly } from '../store/pieces.js'
import { Replica, type ReplicaEvents, type ReplicaMessage } from '../store/replica.js'
import { Calls } from './calls.js'
import type { Outbox } from './outbox.js'

/** Bytes of one message to a master, as masters have it. */
const MAX_UP_MESSAGE_BYTES = 16 * 1024 * 1024
/** Calls above this many characters travel in the bulk lane, so that they delay no change. */
const BULK_CHARACTERS = 64 * 1024
/** From an open link to the state, in milliseconds without any message in between. */
const WELCOME_TIMEOUT_MS = 20_000
/** Refusals kept for the next `settled()`. */
const MAX_UNREPORTED_REFUSALS = 1000

export type MasterLink = Link<Down, Up>

type SnapshotMessage = Extract<Down, { command: 'snapshot' }>

export interface SessionEvents {
  changed: ReplicaEvents['changed']
  caughtUp: ReplicaEvents['caughtUp']
  refused: ReplicaEvents['refused']
  settled: ReplicaEvents['settled']
  /** There is no pursuit of a link any more. */
  rests: []
  /** The other end answered a heartbeat. */
  pulse: []
}

export interface SessionOptions {
  readonly handlers: Handlers
  readonly clock: Clock
  readonly log: Log
  readonly token?: string | undefined
  /** Where changes outlive this process; without it they are kept in memory. It is closed by who opened it. */
  readonly outbox?: Outbox | undefined
}

export class Session {
  readonly events: Events<SessionEvents>
  readonly replica: Replica
  readonly calls: Calls
  readonly handlers: Handlers
  readonly #options: SessionOptions
  readonly #clock: Clock
  readonly #log: Log
  /** What makes us the same client to the master on every link; shown to nobody else. */
  readonly #secret: string
  readonly #outbox: Outbox | undefined
  #session: string | undefined
  #link: MasterLink | undefined
  #inbox: Down[] = []
  /** A snapshot of which parts are missing. */
  #assembling: { readonly snapshot: SnapshotMessage; readonly assembly: Assembly } | undefined
  #flushing = false
  #unreported: Refusal[] = []
  #resting = true
  /** Every change up to this seq is answered, and the program was told. */
  #settledSeq: number

  constructor(options: SessionOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#log = options.log
    this.handlers = options.handlers
    const report = (error: unknown): void => this.#log('error', 'A handler or listener of the slave threw', { error })
    this.events = new Events<SessionEvents>(report)
    const { outbox } = options
    this.#outbox = outbox
    this.#secret = outbox?.secret ?? newSecret()
    this.#session = outbox?.session
    const kept = outbox && { kept: outbox.kept, admit: () => outbox.admit() }
    this.replica = new Replica({ handlers: options.handlers, report, ...kept })
    this.#settledSeq = this.replica.settledSeq
    outbox?.serve({
      unwritten: () => this.replica.unwritten(this.#link?.open === true),
      session: () => this.#session,
      written: (reach) => {
        this.replica.written(reach)
        this.flushSoon()
      },
    })
    this.calls = new Calls({
      clock: this.#clock,
      due: () => this.flushSoon(),
      cancel: (call) => this.#link?.send(envelope('cancel', { call })),
    })
    this.replica.events.on('changed', (change) => this.events.emit('changed', change))
    this.replica.events.on('caughtUp', (how) => this.events.emit('caughtUp', how))
    this.replica.events.on('settled', (seq) => {
      this.flushSoon()
      this.#onceKept(() => {
        this.#settledSeq = seq
        this.events.emit('settled', seq)
      })
    })
    this.replica.events.on('refused', (refusal) =>
      this.#onceKept(() => {
        this.#unreported.push(refusal)
        if (this.#unreported.length > MAX_UNREPORTED_REFUSALS) this.#unreported.shift()
        this.events.emit('refused', refusal)
      }),
    )
  }

  /** Whether all that was changed is answered, and the program was told. */
  get idle(): boolean {
    return this.#settledSeq >= this.replica.latestSeq
  }

  /** The link it goes over at present. */
  get link(): MasterLink | undefined {
    return this.#link
  }

  /** Whether nobody looks for a link: what waits for the master waits for the program. */
  get resting(): boolean {
    return this.#resting
  }

  /** Somebody looks for a link. */
  wake(): void {
    this.#resting = false
  }

  /** Goes on over this link: says hello. Resolves when the master's state is here; rejects with why the link closed. */
  attach(link: MasterLink): Promise<void> {
    this.wake()
    this.#link = link
    this.#inbox = []
    this.#assembling = undefined
    this.replica.relink()
    return new Promise((resolve, reject) => {
      const tooLate = (): void => void link.close('timeout', 'The master did not send its state in time')
      let timer = this.#clock.setTimeout(tooLate, WELCOME_TIMEOUT_MS)
      const off = this.replica.events.on('caughtUp', () => {
        this.#clock.clearTimeout(timer)
        timer = undefined
        off()
        resolve()
      })
      link.events.on('message', (message) => {
        // A heartbeat is no progress.
        if (timer !== undefined && message.command !== 'pong') {
          this.#clock.clearTimeout(timer)
          timer = this.#clock.setTimeout(tooLate, WELCOME_TIMEOUT_MS)
        }
        this.#receive(link, message)
      })
      link.events.on('close', (reason) => {
        this.#clock.clearTimeout(timer)
        off()
        if (this.#link === link) this.#link = undefined
        reject(reason)
      })
      link.send(envelope('hello', this.#hello()))
    })
  }

  /** What can leave, leaves at the end of this turn. */
  flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  /** A message, not a change: dropped when it cannot leave at once. */
  volatile(event: CommittedEvent): void {
    if (this.#link?.hasRoom !== true || !this.replica.live) return
    const { id, at, ...payload } = event
    this.#link.send(envelope('volatile', payload, id, at))
    this.replica.volatile(event, this.replica.client)
  }

  /** Resolves when all changed so far is answered; rejects with the first refusal since it was last asked, or when it rests. */
  settled(): Promise<void> {
    const target = this.replica.latestSeq
    return new Promise((resolve, reject) => {
      const done = (): void => {
        const [first] = this.#unreported.filter(({ seq }) => seq <= target)
        this.#unreported = this.#unreported.filter(({ seq }) => seq > target)
        if (first === undefined) resolve()
        else reject(first.error)
      }
      if (this.#settledSeq >= target) return done()
      if (this.#resting) return reject(unsettled())
      const over = (): void => {
        for (const off of offs) off()
      }
      const offs = [
        this.events.on('settled', (seq) => {
          if (seq < target) return
          over()
          done()
        }),
        this.events.on('rests', () => {
          over()
          reject(unsettled())
        }),
      ]
    })
  }

  /** No link will come until the program connects again: nobody waits for that. Changes stay, to be sent then. */
  rest(): void {
    this.#resting = true
    this.calls.abandon(new NamedMasterError('closed', 'The slave disconnected before this call was answered'))
    this.events.emit('rests')
  }

  /** Gives back whatever is not answered. */
  abandon(error: NamedMasterError): void {
    this.replica.abandon(error)
    this.calls.abandon(error)
  }

  #hello(): UpPayload<'hello'> {
    const { position } = this.replica
    const { token } = this.#options
    return {
      versions: { oldest: OLDEST_VERSION, newest: PROTOCOL_VERSION },
      secret: this.#secret,
      calls: this.calls.sent,
      encodings: ['json'],
      ...(position === undefined ? {} : { position }),
      ...(this.#session === undefined ? {} : { session: this.#session }),
      ...(token === undefined ? {} : { token }),
    }
  }

  #receive(link: MasterLink, message: Down): void {
    // All messages of one frame arrive in one turn and are taken together.
    if (link !== this.#link || this.#inbox.push(message) > 1) return
    queueMicrotask(() => {
      if (link === this.#link && link.open) this.#take(link)
    })
  }

  #take(link: MasterLink): void {
    const messages = this.#inbox
    this.#inbox = []
    let batch: ReplicaMessage[] = []
    const replicate = (): void => {
      const replicated = batch
      batch = []
      if (replicated.length > 0) this.replica.receive(replicated)
    }
    try {
      for (const message of messages) {
        switch (message.command) {
          case 'welcome':
            this.calls.resume(message.payload.session === this.#session, message.payload.calls)
            this.#session = message.payload.session
            this.#assembling = undefined
            batch.push(message)
            break
          case 'snapshot': {
            const { state, more } = message.payload
            if (more !== true) batch.push(message)
            else if (state === undefined) throw unfit('a snapshot in parts without a skeleton')
            else this.#assembling = { snapshot: message, assembly: new Assembly(state) }
            break
          }
          case 'part': {
            const whole = this.#assemble(message.payload)
            if (whole !== undefined) batch.push(whole)
            break
          }
          case 'commit':
            if (this.#assembling !== undefined) throw unfit('a commit in the middle of a snapshot')
            batch.push(message)
            break
          case 'refused':
            batch.push(message)
            break
          case 'answer':
            this.calls.answer(message.payload)
            break
          case 'volatile':
            replicate()
            this.#hear(message)
            break
          case 'pong':
            this.events.emit('pulse')
            break
          case 'ping':
          case 'goodbye': // the link's own business
        }
      }
      replicate()
    } catch (error) {
      this.#log('error', 'The master sent what cannot be; asking for its state anew', { error })
      this.replica.forget()
      void link.close('invalid-message', error instanceof Error ? error.message : 'The commits did not fit')
      return
    }
    this.calls.applied(this.replica.version)
    this.#flush()
  }

  /** The snapshot, when this was its last part. */
  #assemble(part: DownPayload<'part'>): SnapshotMessage | undefined {
    if (this.#assembling === undefined) throw unfit('a part without its snapshot')
    const { snapshot, assembly } = this.#assembling
    assembly.add(part)
    if (part.last !== true) return undefined
    this.#assembling = undefined
    return { ...snapshot, payload: { version: snapshot.payload.version, state: assembly.value } }
  }

  #hear({ payload, uuid, timestamp }: Extract<Down, { command: 'volatile' }>): void {
    const { client, ...event } = payload
    if (this.replica.live) this.replica.volatile({ ...event, id: uuid, at: timestamp }, client)
  }

  #onceKept(tell: () => void): void {
    if (this.#outbox === undefined) return tell()
    this.#outbox.after(tell)
    this.flushSoon()
  }

  #flush(): void {
    this.#outbox?.write()
    const link = this.#link
    if (link === undefined || !link.open || !this.replica.live) return
    for (const { command, payload, id, at } of this.replica.sendable()) {
      const text = encode<Up>(envelope(command, payload, id, at) as Up)
      if (!fits(text)) {
        this.replica.reject(payload.seq, tooLarge())
        return this.flushSoon()
      }
      link.send(text)
    }
    for (const call of this.calls.sendable(this.replica.settledSeq)) {
      const text = encode<Up>(envelope('call', call))
      if (!fits(text)) this.calls.fail(call.call, tooLarge())
      else link.send(text, text.length > BULK_CHARACTERS ? 'bulk' : 'ordered')
    }
  }
}

/** What is changed waits for a connection that nobody is making. */
const unsettled = (): NamedMasterError =>
  new NamedMasterError('not-connected', 'Not all changes are committed: connect() again, and they are sent')

const unfit = (what: string): NamedMasterError => new NamedMasterError('invalid-message', `The master sent ${what}.`)

const fits = (text: string): boolean =>
  text.length * 3 <= MAX_UP_MESSAGE_BYTES || utf8Bytes(text) <= MAX_UP_MESSAGE_BYTES

const tooLarge = (): NamedMasterError =>
  new NamedMasterError('too-large', `A message to a master may have ${MAX_UP_MESSAGE_BYTES} bytes: send it in parts`)
