/**
 * A Link: two ends exchanging envelopes in order.
 *
 * Promises: what is sent in a lane arrives in its order, or the link closes; whatever comes in is a message of the
 * vocabulary, or ends this link (and no other thing); a dead end is noticed. Does not promise that what was sent has
 * arrived (acknowledge in the application), nor anything of a message that was sent after `close`.
 */
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import { envelope, type Envelope, type Parsed } from '../protocol/envelope.js'
import type { Fault } from '../protocol/naming.js'
import type { Channel } from './channel.js'
import { FrameReader, FrameWriter, utf8Bytes, type Frame, type FrameRead, type Inflate, type Lane } from './frames.js'
import { Goodbye } from './goodbye.js'

export type { Lane }

declare const encoded: unique symbol
/** The JSON text of an envelope, or that deflated, made once and sent on many links. */
export type Encoded<Out> = string & { readonly [encoded]: Out }
export type Deflated<Out> = Uint8Array & { readonly [encoded]: Out }

export const encode = <Out extends Envelope>(message: Out): Encoded<Out> => JSON.stringify(message) as Encoded<Out>

export interface LinkEvents<In> {
  message: [message: In]
  /** There is room again after `hasRoom` was false. */
  room: []
  /** Once, whoever closed and however: what the other end said, or what was noticed here. */
  close: [reason: NamedMasterError]
}

export interface Link<In extends Envelope, Out extends Envelope> extends AsyncDisposable {
  readonly events: Events<LinkEvents<In>>
  readonly open: boolean
  /** Never throws and never blocks: what does not fit waits in the lane. On a closed link it does nothing. */
  send(message: Out | Encoded<Out> | Deflated<Out>, lane?: Lane): void
  /** Whether the ordered lane is short enough to be given more. */
  readonly hasRoom: boolean
  /** Of the last heartbeat, in milliseconds. */
  readonly roundTrip: number | undefined
  /** Lifts the budget of a stranger (see `LinkOptions.strangerBytes`). */
  trust(): void
  /** 'relay' when the selected candidate pair has a relay at either end. */
  path(): Promise<'direct' | 'relay' | undefined>
  /**
   * Says `goodbye`, waits until the other end has closed (a second if it is silent, five if it goes on sending), closes.
   * Idempotent. Resolves when the native side is gone.
   */
  close(code: ErrorCode, message: string): Promise<void>
}

export interface LinkOptions<In extends Envelope> {
  readonly parse: (value: unknown) => Parsed<In>
  /** Bytes of one incoming message; more ends the link with `too-large`. */
  readonly maxMessageBytes: number
  /** Absent: what is deflated ends the link with `invalid-message`. */
  readonly inflate?: Inflate
  /** Bytes the other end may send in all before `trust()` is called. Absent: no budget. */
  readonly strangerBytes?: number
  readonly heartbeat?: {
    /** Milliseconds between our pings. */
    readonly interval: number
    /** Milliseconds of silence after which the link is closed with `silent`. A function, because a hidden page gets longer. */
    readonly silence: () => number
    /** What our pongs carry. */
    readonly pong?: () => { readonly hidden?: boolean; readonly lowestCall?: number }
  }
  readonly clock?: Clock
  /** Gets what a listener threw; by default the console. */
  readonly report?: (error: unknown) => void
}

/**
 * Bytes in the channel's own buffer above which messages wait in their lanes. Urgent ones wait behind these bytes, so no
 * more than keeps a fast path busy between two polls; Chromium's buffer ends at 16 MiB.
 */
const HIGH_WATER_BYTES = 512 * 1024

/** UTF-16 units waiting in the ordered lane from which `hasRoom` is false. */
const ROOM_UNITS = 1024 * 1024

/** Units waiting in the urgent lane above which pings go unanswered: who sends them does not read the answers. */
const MAX_PONG_BACKLOG_UNITS = 64 * 1024

/**
 * Units waiting in the urgent lane above which the other end counts as one that does not read: a thousand answers of 64 Ki
 * characters, which is all that an honest one can be owed. Refusals and answers are asked for by messages much smaller.
 */
const MAX_URGENT_UNITS = 1000 * 64 * 1024

/** Between two looks at a buffer that drains, in milliseconds; twice as long after each look that saw no progress, up to ... */
const POLL_MS = 1
/** ... this: a stalled link costs next to nothing, and one that goes on is noticed at once. */
const MAX_POLL_MS = 16

/**
 * A Link over a channel that is open. Listeners attached in the same turn miss nothing. From now on the channel is the
 * link's, which closes it.
 */
export function createLink<In extends Envelope, Out extends Envelope>(
  channel: Channel,
  options: LinkOptions<In>,
): Link<In, Out> {
  return new FramedLink<In, Out>(channel, options)
}

class FramedLink<In extends Envelope, Out extends Envelope> implements Link<In, Out> {
  readonly events: Events<LinkEvents<In>>
  open = true
  roundTrip: number | undefined

  readonly #channel: Channel
  readonly #options: LinkOptions<In>
  readonly #clock: Clock
  readonly #writer: FrameWriter
  readonly #reader: FrameReader
  /** Bytes that may be sent before bufferedAmount is asked again. */
  #credit = 0
  #pumpDue = false
  #full = false
  #pollTimer: unknown
  #pollMs = POLL_MS
  #lastBuffered = 0
  /** Bytes a stranger still has. */
  #budget: number

  #heartTimer: unknown
  #heardAt: number
  #pingAt: number
  /** Our oldest ping that is not answered yet. */
  #ping: { readonly uuid: string; readonly at: number } | undefined
  /** A second chance was given: see #beat. */
  #graced = false

  /** What was read of frames that came after a deflated message, and of itself: they wait for it. */
  #unread: (FrameRead | Promise<FrameRead>)[] = []
  #channelClosed = false
  /** Ours, while the other end has not closed. */
  #goodbye: Goodbye | undefined
  #gone: Promise<void> = Promise.resolve()

  constructor(channel: Channel, options: LinkOptions<In>) {
    this.#channel = channel
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.events = new Events(options.report)
    this.#writer = new FrameWriter(channel.maxFrameBytes)
    this.#reader = new FrameReader(options.maxMessageBytes, options.inflate)
    this.#budget = options.strangerBytes ?? Infinity
    this.#heardAt = this.#pingAt = this.#clock.now()
    queueMicrotask(() => {
      channel.attach({
        frame: (frame) => this.#receive(frame),
        drained: () => this.#pump(),
        closed: () => this.#closed(),
      })
      if (options.heartbeat !== undefined) this.#beat(this.#heardAt)
    })
  }

  get hasRoom(): boolean {
    return this.#writer.waiting('ordered') < ROOM_UNITS
  }

  send(message: Out | Encoded<Out> | Deflated<Out>, lane: Lane = 'ordered'): void {
    if (!this.open) return
    const written = typeof message === 'string' || message instanceof Uint8Array
    this.#writer.push(written ? message : encode(message), lane)
    if (this.#writer.waiting('urgent') > MAX_URGENT_UNITS)
      return this.#fail('too-slow', 'it does not read what it is sent')
    if (!this.hasRoom) this.#full = true
    this.#pumpSoon()
  }

  trust(): void {
    this.#budget = Infinity
  }

  path(): Promise<'direct' | 'relay' | undefined> {
    return this.open ? this.#channel.path() : Promise.resolve(undefined)
  }

  close(code: ErrorCode, message: string): Promise<void> {
    // What was sent before leaves before the goodbye, as far as there is room for it.
    this.#pump()
    this.#end(new NamedMasterError(code, message), true)
    return this.#gone
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close('closed', 'The other end closed the link.')
  }

  // Out

  #pumpSoon(): void {
    if (this.#pumpDue) return
    this.#pumpDue = true
    queueMicrotask(() => {
      this.#pumpDue = false
      this.#pump()
    })
  }

  #pump(): void {
    while (this.open && !this.#writer.empty && this.#hasCredit()) {
      const frame = this.#writer.next()
      if (frame === undefined || !this.#transmit(frame)) break
    }
    if (!this.open) return
    if (!this.#writer.empty) this.#poll()
    if (this.#full && this.hasRoom) {
      this.#full = false
      this.events.emit('room')
    }
  }

  /** Counts down what may be sent, rather than asking the channel each time. */
  #hasCredit(): boolean {
    if (this.#credit <= 0) {
      const buffered = this.#channel.bufferedAmount
      if (buffered < this.#lastBuffered) this.#pollMs = POLL_MS
      this.#lastBuffered = buffered
      this.#credit = HIGH_WATER_BYTES - buffered
    }
    return this.#credit > 0
  }

  #transmit(frame: Frame): boolean {
    try {
      this.#channel.send(frame)
    } catch (cause) {
      this.#end(
        new NamedMasterError('closed', 'The connection could not take a message; connect again.', { cause }),
        false,
      )
      return false
    }
    this.#credit -= frame.length
    return true
  }

  #poll(): void {
    if (this.#pollTimer !== undefined) return
    this.#pollTimer = this.#clock.setTimeout(() => {
      this.#pollTimer = undefined
      this.#pump()
    }, this.#pollMs)
    this.#pollMs = Math.min(MAX_POLL_MS, this.#pollMs * 2)
  }

  // In

  #receive(frame: Frame): void {
    if (!this.open) return this.#receiveLate(frame)
    this.#heardAt = this.#clock.now()
    this.#graced = false
    if (this.#budget !== Infinity) {
      this.#budget -= typeof frame === 'string' ? utf8Bytes(frame) : frame.length
      if (this.#budget < 0) return this.#fail('too-large', 'it sent more than it may before it is welcomed')
    }
    const read = this.#reader.read(frame)
    if (this.#unread.length === 0 && !(read instanceof Promise)) this.#take(read)
    else if (this.#unread.push(read) === 1) void this.#takeUnread()
  }

  /** After our goodbye. Theirs may have met it on the way: then neither end sends, and nobody has to wait. */
  #receiveLate(frame: Frame): void {
    if (this.#goodbye === undefined) return
    this.#goodbye.heard()
    if (typeof frame !== 'string' || !frame.includes('"goodbye"')) return
    const read = this.#reader.read(frame)
    if (read instanceof Promise || !read.ok) return
    const saysGoodbye = (parsed: Parsed<In>) => parsed.ok && parsed.value.command === 'goodbye'
    if (read.values.some((value) => saysGoodbye(this.#parse(value)))) this.#goodbye.end()
  }

  async #takeUnread(): Promise<void> {
    while (this.#unread.length > 0) {
      const read = (await this.#unread[0]) as FrameRead
      if (this.open) this.#take(read)
      void this.#unread.shift()
    }
    if (this.#channelClosed) this.#closed()
  }

  #take(read: FrameRead): void {
    if (!read.ok) return this.#fail(read.code, read.reason)
    for (const value of read.values) {
      const parsed = this.#parse(value)
      if (!parsed.ok) return this.#fail(parsed.code, `at ${parsed.path || '/'} ${parsed.reason}`)
      this.#deliver(parsed.value)
      if (!this.open) return
    }
  }

  #parse(value: unknown): Parsed<In> {
    try {
      return this.#options.parse(value)
    } catch {
      return { ok: false, code: 'invalid-message', path: '', reason: 'it cannot be parsed' }
    }
  }

  #deliver(message: In): void {
    switch (message.command) {
      case 'ping':
        if (this.#writer.waiting('urgent') > MAX_PONG_BACKLOG_UNITS) return
        this.#say(envelope('pong', this.#options.heartbeat?.pong?.() ?? {}, message.uuid))
        return
      case 'pong':
        if (message.uuid === this.#ping?.uuid) {
          this.roundTrip = this.#clock.now() - this.#ping.at
          this.#ping = undefined
        }
        break
      case 'goodbye':
        return this.#end(NamedMasterError.fromFault(message.payload as Fault), false)
    }
    this.events.emit('message', message)
  }

  /** The link's own words: every vocabulary of a link has them. */
  #say(message: Envelope): void {
    this.#writer.push(JSON.stringify(message), 'urgent')
    this.#pumpSoon()
  }

  // Life

  /** Pings, and looks whether anything was heard. `due` is when this beat should have come. */
  #beat(due: number): void {
    const heartbeat = this.#options.heartbeat
    if (!this.open || heartbeat === undefined) return
    const now = this.#clock.now()
    const { interval } = heartbeat
    if (now - this.#heardAt >= heartbeat.silence()) {
      // A process that was suspended heard nothing because it did not listen: one more interval, once.
      if (this.#graced || now - due < interval) {
        return this.#fail('silent', `nothing was heard of it for ${Math.round(now - this.#heardAt)} ms`)
      }
      this.#graced = true
      return this.#beatAt(now, now + interval)
    }
    if (now >= this.#pingAt) {
      this.#pingAt = now + interval
      // Also while one is not answered: on a slow line answers wait behind what was sent before them, and a ping is what
      // the other end hears of us meanwhile.
      const ping = envelope('ping', {})
      this.#ping ??= { uuid: ping.uuid, at: now }
      this.#say(ping)
    }
    this.#beatAt(now, Math.min(this.#pingAt, this.#heardAt + heartbeat.silence()))
  }

  #beatAt(now: number, due: number): void {
    this.#heartTimer = this.#clock.setTimeout(() => this.#beat(due), Math.max(1, Math.ceil(due - now)))
  }

  #fail(code: ErrorCode, reason: string): void {
    this.#end(new NamedMasterError(code, `The link was closed because of the other end: ${reason}.`), true)
  }

  #closed(): void {
    this.#channelClosed = true
    this.#goodbye?.end()
    // What came before the end is told before it.
    if (this.#unread.length > 0) return
    this.#end(new NamedMasterError('closed', 'The connection was cut without a goodbye; connect again.'), false)
  }

  #end(reason: NamedMasterError, goodbye: boolean): void {
    if (!this.open) return
    this.open = false
    this.#clock.clearTimeout(this.#pollTimer)
    this.#clock.clearTimeout(this.#heartTimer)
    this.#gone = goodbye ? this.#leave(reason) : this.#channel.close()
    this.events.emit('close', reason)
  }

  /** The goodbye passes by what waits in the lanes: that is not sent any more. */
  async #leave(reason: NamedMasterError): Promise<void> {
    try {
      this.#channel.send(JSON.stringify([envelope('goodbye', reason.toFault())]))
      this.#goodbye = new Goodbye(this.#clock)
      await this.#goodbye.over
    } catch {
      // The channel is closed already: there is nobody to say goodbye to.
    }
    await this.#channel.close()
  }
}
