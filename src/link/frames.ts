/**
 * Frames: how envelopes are put on a channel. Promises: what a writer was given comes out of the other end's reader
 * whole and, lane by lane, in order; a reader never throws, whatever it is fed, and never holds more than one
 * unfinished message of the largest size per lane. Does not know what an envelope means.
 *
 * A channel carries frames, in order. There are two kinds:
 *
 * - A **text frame** is a JSON array of one or more envelopes: `[{"command":...},{"command":...}]`.
 * - A **binary frame** is a piece of ONE envelope that is too large for a text frame, or deflated. Its first byte says
 *   which lane (bits 0-5: 0 urgent, 1 ordered, 2 bulk), whether the message is deflated (bit 6, the same in each of its
 *   pieces) and whether this is the last piece (bit 7). The rest, at least one byte, is a part of the envelope's JSON text
 *   in UTF-8 (the envelope itself, no array around it), or of that text's raw DEFLATE (RFC 1951). Pieces of one lane are
 *   joined in the order they come; pieces of several lanes, and text frames, may come between them. A cut may fall
 *   inside a code point, so join the bytes first and decode then.
 *
 * A frame has at most the bytes that the other end's `a=max-message-size` allows. A sender keeps the order within a
 * lane: what follows a large message in its lane is sent after that message's last piece.
 */
import type { ErrorCode } from '../errors.js'

/**
 * Each lane is in order; between lanes there is none. `urgent` (heartbeats, refusals, answers, goodbye) passes between
 * the chunks of the others; `ordered` is everything else; `bulk` carries large calls, so that they delay no commit.
 */
export type Lane = 'urgent' | 'ordered' | 'bulk'

/** The position of a lane here is its number on the wire. */
const LANES = ['urgent', 'ordered', 'bulk'] as const

export type Frame = string | Uint8Array

/** Bits 7 and 6 of a binary frame's first byte. */
const LAST_PIECE = 0x80
const DEFLATED = 0x40

/**
 * The opposite of deflating; refuses what is not deflated, and with a RangeError what would have more bytes than that:
 * throws, or rejects.
 */
export type Inflate = (bytes: Uint8Array, maxBytes: number) => Uint8Array | Promise<Uint8Array>

/** A frame that small could not hold its head and one code point; far below what any engine announces. */
export const MIN_FRAME_BYTES = 64

/** What an end takes that does not say (RFC 8841 section 6.1). */
export const DEFAULT_FRAME_BYTES = 65_536

/** Bytes of a text in UTF-8. (TextEncoder would copy it, and a browser has no Buffer.byteLength.) */
export function utf8Bytes(text: string): number {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // Two more for a three-byte code point; a surrogate is half of four bytes, so one more.
    if (unit > 0x7f) bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2
  }
  return bytes
}

/** Whether the text has at most `limit` bytes; most texts are decided by their length alone. */
const fits = (text: string, limit: number): boolean =>
  text.length <= limit && (text.length * 3 <= limit || utf8Bytes(text) <= limit)

/** An envelope's JSON text, or that deflated. */
type Written = string | Uint8Array

/** What waits in one lane, the first of it partly sent, perhaps. */
class Waiting {
  #messages: Written[] = []
  #head = 0
  /** UTF-16 units of texts, not bytes: near enough for a mark, and free. */
  units = 0

  get first(): Written | undefined {
    return this.#messages[this.#head]
  }

  push(message: Written): void {
    this.#messages.push(message)
    this.units += message.length
  }

  shift(): void {
    this.units -= this.first?.length ?? 0
    this.#messages[this.#head++] = ''
    // Array.shift moves all that follow; this moves them once per half.
    if (this.#head > 32 && this.#head * 2 > this.#messages.length) {
      this.#messages = this.#messages.slice(this.#head)
      this.#head = 0
    }
  }
}

export class FrameWriter {
  readonly #limit: number
  readonly #lanes: Readonly<Record<Lane, Waiting>> = {
    urgent: new Waiting(),
    ordered: new Waiting(),
    bulk: new Waiting(),
  }
  /** Units already sent of the first message of each lane. */
  readonly #sent: Record<Lane, number> = { urgent: 0, ordered: 0, bulk: 0 }
  readonly #piece: Uint8Array
  readonly #encoder = new TextEncoder()
  #turn: Lane = 'bulk'

  constructor(maxFrameBytes: number) {
    if (!(maxFrameBytes >= MIN_FRAME_BYTES)) throw new TypeError(`A frame needs at least ${MIN_FRAME_BYTES} bytes`)
    this.#limit = maxFrameBytes
    this.#piece = new Uint8Array(maxFrameBytes)
  }

  push(message: Written, lane: Lane): void {
    this.#lanes[lane].push(message)
  }

  /** UTF-16 units of the texts, and bytes of the deflated, that wait in a lane (what is partly sent counts in full). */
  waiting(lane: Lane): number {
    return this.#lanes[lane].units
  }

  get empty(): boolean {
    return LANES.every((lane) => this.#lanes[lane].first === undefined)
  }

  /** The next frame to send, or undefined when nothing waits. A binary one is valid until the next call. */
  next(): Frame | undefined {
    const lane = this.#nextLane()
    if (lane === undefined) return undefined
    return this.#isLarge(lane) ? this.#nextPiece(lane) : this.#nextText(lane)
  }

  /** Urgent first; the other two in turn, as long as both have something. */
  #nextLane(): Lane | undefined {
    if (this.#lanes.urgent.first !== undefined) return 'urgent'
    const other: Lane = this.#turn === 'ordered' ? 'bulk' : 'ordered'
    const lane = this.#lanes[other].first === undefined ? this.#turn : other
    if (this.#lanes[lane].first === undefined) return undefined
    this.#turn = lane
    return lane
  }

  /** Whether the first of this lane needs pieces: a text frame has two bytes of brackets. */
  #isLarge(lane: Lane): boolean {
    const message = this.#lanes[lane].first
    if (this.#sent[lane] > 0 || message instanceof Uint8Array) return true
    return message !== undefined && !fits(message, this.#limit - 2)
  }

  #nextPiece(lane: Lane): Uint8Array {
    const message = this.#lanes[lane].first as Written
    const from = this.#sent[lane]
    const to = Math.min(message.length, from + this.#limit - 1)
    let read = to - from
    let written = read
    if (message instanceof Uint8Array) this.#piece.set(message.subarray(from, to), 1)
    // A pair cut in two here is never encoded: its half would need three bytes, and at most one is left.
    else ({ read, written } = this.#encoder.encodeInto(message.slice(from, to), this.#piece.subarray(1)))
    const last = from + read === message.length
    const deflated = message instanceof Uint8Array ? DEFLATED : 0
    this.#piece[0] = LANES.indexOf(lane) | deflated | (last ? LAST_PIECE : 0)
    this.#sent[lane] = last ? 0 : from + read
    if (last) this.#lanes[lane].shift()
    return this.#piece.subarray(0, written + 1)
  }

  /** As many small ones as fit, of this lane and then of the others. */
  #nextText(lane: Lane): string {
    const texts: string[] = []
    let room = this.#limit - 1
    for (const from of [lane, ...LANES.filter((other) => other !== lane)]) {
      for (let text = this.#lanes[from].first; text !== undefined; text = this.#lanes[from].first) {
        if (typeof text !== 'string' || this.#sent[from] > 0 || text.length >= room) break
        const bytes = utf8Bytes(text)
        if (bytes >= room) break
        room -= bytes + 1
        texts.push(text)
        this.#lanes[from].shift()
      }
    }
    return `[${texts.join(',')}]`
  }
}

export type FrameRead =
  | { readonly ok: true; readonly values: readonly unknown[] }
  | { readonly ok: false; readonly code: ErrorCode; readonly reason: string }

const refuse = (code: ErrorCode, reason: string): FrameRead => ({ ok: false, code, reason })
const NOTHING: FrameRead = { ok: true, values: [] }

/** The pieces of one message so far, in one buffer that grows: many small pieces cost no more than few large ones. */
class Assembly {
  #bytes = new Uint8Array(0)
  length = 0
  deflated = false

  add(piece: Uint8Array, limit: number): void {
    const needed = this.length + piece.length
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.min(limit, Math.max(needed, this.#bytes.length * 2)))
      grown.set(this.#bytes.subarray(0, this.length))
      this.#bytes = grown
    }
    this.#bytes.set(piece, this.length)
    this.length = needed
  }

  /** All of it; begins anew. */
  take(): Uint8Array {
    const whole = this.#bytes.subarray(0, this.length)
    this.#bytes = new Uint8Array(0)
    this.length = 0
    return whole
  }
}

export class FrameReader {
  readonly #maxMessageBytes: number
  readonly #inflate: Inflate | undefined
  readonly #assemblies = LANES.map(() => new Assembly())
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  /** Without `inflate` what is deflated is refused. */
  constructor(maxMessageBytes: number, inflate?: Inflate) {
    this.#maxMessageBytes = maxMessageBytes
    this.#inflate = inflate
  }

  /**
   * The values that this frame completes: parsed JSON, nothing more is known of them. A promise, never rejected, where
   * `inflate` takes its time.
   */
  read(frame: Frame): FrameRead | Promise<FrameRead> {
    return typeof frame === 'string' ? this.#readText(frame) : this.#readPiece(frame)
  }

  #readText(frame: string): FrameRead {
    const values = parseJson(frame)
    if (!Array.isArray(values)) return refuse('invalid-message', 'a text frame is no JSON array')
    if (!fits(frame, this.#maxMessageBytes) && values.some((value) => !fits(textOf(value), this.#maxMessageBytes))) {
      return this.#tooLarge()
    }
    return { ok: true, values }
  }

  #readPiece(frame: Uint8Array): FrameRead | Promise<FrameRead> {
    const head = frame[0]
    if (head === undefined || frame.length < 2) return refuse('invalid-message', 'a binary frame is empty')
    const lane = head & ~(LAST_PIECE | DEFLATED)
    const assembly = this.#assemblies[lane]
    if (assembly === undefined) return refuse('invalid-message', `there is no lane ${lane}`)
    const deflated = (head & DEFLATED) !== 0
    if (deflated && this.#inflate === undefined) return refuse('invalid-message', 'a message is deflated')
    if (assembly.length > 0 && assembly.deflated !== deflated)
      return refuse('invalid-message', 'a message is deflated in part')
    if (assembly.length + frame.length - 1 > this.#maxMessageBytes) return this.#tooLarge()
    const piece = frame.subarray(1)
    const last = (head & LAST_PIECE) !== 0
    // A part of a snapshot is mostly one piece, and needs no joining.
    if (last && assembly.length === 0) return this.#readMessage(piece, deflated)
    assembly.deflated = deflated
    assembly.add(piece, this.#maxMessageBytes)
    return last ? this.#readMessage(assembly.take(), deflated) : NOTHING
  }

  #readMessage(bytes: Uint8Array, deflated: boolean): FrameRead | Promise<FrameRead> {
    return deflated ? this.#readDeflated(bytes, this.#inflate as Inflate) : this.#readWhole(bytes)
  }

  #readDeflated(bytes: Uint8Array, inflate: Inflate): FrameRead | Promise<FrameRead> {
    const unfit = (error: unknown): FrameRead =>
      error instanceof RangeError ? this.#tooLarge() : refuse('invalid-message', 'a message does not inflate')
    try {
      const whole = inflate(bytes, this.#maxMessageBytes)
      return whole instanceof Promise ? whole.then((late) => this.#readWhole(late), unfit) : this.#readWhole(whole)
    } catch (error) {
      return unfit(error)
    }
  }

  #readWhole(bytes: Uint8Array): FrameRead {
    let text: string
    try {
      text = this.#decoder.decode(bytes)
    } catch {
      return refuse('invalid-message', 'a message is no UTF-8')
    }
    const value = parseJson(text)
    return value === undefined ? refuse('invalid-message', 'a message is no JSON') : { ok: true, values: [value] }
  }

  #tooLarge(): FrameRead {
    return refuse('too-large', `a message has more than ${this.#maxMessageBytes} bytes`)
  }
}

/** Undefined when it is no JSON (which has no undefined). */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The size of one value of a frame that was parsed whole; what nests too deeply for it is refused later, for that. */
function textOf(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch {
    return ''
  }
}
