/**
 * The official fake: two Links joined in memory, with the framing and the checks of the real thing, and faults on
 * demand. Exported for users' tests too.
 *
 * Promises: without latency and rate everything is delivered on microtasks and no timer is ever used by the channel;
 * with the same seed and the same sends the same things happen. Loss is never one frame (an ordered, reliable channel
 * loses none): it is a cut.
 */
import { systemClock, type Clock } from '../clock.js'
import type { Envelope } from '../protocol/envelope.js'
import type { Channel, Receiver } from './channel.js'
import { DEFAULT_FRAME_BYTES, utf8Bytes, type Frame } from './frames.js'
import { createLink, type Link, type LinkOptions } from './link.js'

export interface MemoryOptions {
  /** Milliseconds from one end to the other; 0 by default. */
  readonly latency?: number
  /** Up to as many milliseconds more, by chance; the order stays. 0 by default. */
  readonly jitter?: number
  /** Bytes per second that leave an end; no bound by default. */
  readonly rate?: number
  /** The chance, 0 to 1, that the connection is cut instead of delivering a frame; 0 by default. */
  readonly loss?: number
  /** Of the chances above, an integer; 1 by default. */
  readonly seed?: number
  /** Bytes of the largest frame; 65,536 by default, as for an end that announces nothing (RFC 8841). */
  readonly maxFrameBytes?: number
  readonly clock?: Clock
}

/** Numbers from 0 up to 1, the same for the same seed (mulberry32): small, and good enough to choose faults with. */
export function chances(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Two channels joined in memory. `cut` ends both at once; what is in flight is lost. */
export function channelPair(options: MemoryOptions = {}): { left: Channel; right: Channel; cut: () => void } {
  const chance = chances(options.seed ?? 1)
  const cut = () => {
    left.cut()
    right.cut()
  }
  const left = new MemoryChannel(options, chance, cut)
  const right = new MemoryChannel(options, chance, cut)
  left.peer = right
  right.peer = left
  return { left, right, cut }
}

/** What comes to the other end: a frame, its loss, or the end. (A text frame is an object here, so that no text is taken for an event.) */
type Arrival = { readonly frame: Frame } | 'lost' | 'closed'

class MemoryChannel implements Channel {
  readonly maxFrameBytes: number
  bufferedAmount = 0
  peer!: MemoryChannel

  readonly #options: MemoryOptions
  readonly #clock: Clock
  readonly #chance: () => number
  readonly #cutBoth: () => void
  #receiver: Receiver | undefined
  /** What came before there was a receiver. */
  readonly #early: Arrival[] = []
  #open = true
  /** Bytes of each frame that has not left, and what has not arrived: timers take from the front, so the order stays. */
  readonly #leaving: number[] = []
  readonly #flying: Arrival[] = []
  #leavesAt = 0
  #arrivesAt = 0
  readonly #timers = new Set<unknown>()

  constructor(options: MemoryOptions, chance: () => number, cutBoth: () => void) {
    this.maxFrameBytes = options.maxFrameBytes ?? DEFAULT_FRAME_BYTES
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#chance = chance
    this.#cutBoth = cutBoth
  }

  attach(receiver: Receiver): void {
    this.#receiver = receiver
    for (const arrival of this.#early.splice(0)) this.#tell(arrival)
  }

  send(frame: Frame): void {
    if (!this.#open) throw new Error('the channel is closed')
    const bytes = typeof frame === 'string' ? utf8Bytes(frame) : frame.length
    if (bytes > this.maxFrameBytes) throw new Error(`a frame of ${bytes} bytes is too large`)
    const lost = this.#chance() < (this.#options.loss ?? 0)
    this.#dispatch(bytes, lost ? 'lost' : { frame: typeof frame === 'string' ? frame : frame.slice() })
  }

  path(): Promise<'direct' | 'relay' | undefined> {
    return Promise.resolve(this.#open ? 'direct' : undefined)
  }

  close(): Promise<void> {
    if (this.#open) {
      this.#dispatch(0, 'closed')
      this.#open = false
      this.#tell('closed')
    }
    return Promise.resolve()
  }

  /** Ends it at once; what it had in flight is lost. */
  cut(): void {
    for (const timer of this.#timers) this.#clock.clearTimeout(timer)
    this.#timers.clear()
    this.#flying.length = this.#leaving.length = this.bufferedAmount = 0
    this.#arrive('closed')
  }

  #dispatch(bytes: number, arrival: Arrival): void {
    const { latency = 0, jitter = 0, rate = Infinity } = this.#options
    const now = this.#clock.now()
    this.bufferedAmount += bytes
    this.#leaving.push(bytes)
    this.#flying.push(arrival)
    this.#leavesAt = Math.max(now, this.#leavesAt) + (bytes / rate) * 1000
    this.#arrivesAt = Math.max(this.#arrivesAt, this.#leavesAt + latency + jitter * this.#chance())
    this.#after(this.#leavesAt - now, () => {
      const left = this.#leaving.shift()
      if (left === undefined) return
      this.bufferedAmount -= left
      this.#receiver?.drained()
    })
    this.#after(this.#arrivesAt - now, () => {
      const next = this.#flying.shift()
      if (next === 'lost') this.#cutBoth()
      else if (next !== undefined) this.peer.#arrive(next)
    })
  }

  #after(ms: number, action: () => void): void {
    if (ms <= 0) return queueMicrotask(action)
    const timer = this.#clock.setTimeout(() => {
      this.#timers.delete(timer)
      action()
    }, ms)
    this.#timers.add(timer)
  }

  #arrive(arrival: Arrival): void {
    if (!this.#open) return
    if (arrival === 'closed') this.#open = false
    this.#tell(arrival)
  }

  #tell(arrival: Arrival): void {
    if (this.#receiver === undefined) this.#early.push(arrival)
    else if (arrival === 'closed') this.#receiver.closed()
    else if (arrival !== 'lost') this.#receiver.frame(arrival.frame)
  }
}

export interface LinkPairOptions<Left extends Envelope, Right extends Envelope> extends MemoryOptions {
  /** What the left end takes, and so what the right one sends. */
  readonly left: LinkOptions<Left>
  readonly right: LinkOptions<Right>
}

export interface LinkPair<Left extends Envelope, Right extends Envelope> {
  readonly left: Link<Left, Right>
  readonly right: Link<Right, Left>
  /** Cuts the connection: both ends see `close` without a goodbye; what is in flight is lost. */
  cut(): void
}

/** Two links joined in memory. */
export function linkPair<Left extends Envelope, Right extends Envelope>(
  options: LinkPairOptions<Left, Right>,
): LinkPair<Left, Right> {
  const { left, right, cut } = channelPair(options)
  const clock = options.clock === undefined ? {} : { clock: options.clock }
  return {
    left: createLink<Left, Right>(left, { ...clock, ...options.left }),
    right: createLink<Right, Left>(right, { ...clock, ...options.right }),
    cut,
  }
}
