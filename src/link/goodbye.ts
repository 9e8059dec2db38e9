/**
 * The end of a link that ends in order. Who says goodbye sends nothing more, and waits here until the other end has closed
 * the channel; who hears it closes at once. So no end closes while the other one sends: what wrtc needs for sending is
 * taken away by another thread when a channel is closed, and the process of who is just sending dies (see
 * docs/decisions/native-connection-owner.md).
 *
 * Promises: `over` resolves, and leaves no timer. Does not promise that the other end has heard the goodbye.
 */
import type { Clock } from '../clock.js'

/** Of silence: an end that is not heard for so long is dead, or not sending. */
const GOODBYE_MS = 1000

/** An end that goes on sending for so long does not read, and will not close. */
const MAX_GOODBYE_MS = 5000

export class Goodbye {
  readonly over: Promise<void>
  readonly #clock: Clock
  readonly #latest: number
  #heardAt: number
  #timer: unknown
  #resolve!: () => void

  /** Ours was said just now. */
  constructor(clock: Clock) {
    this.#clock = clock
    this.#heardAt = clock.now()
    this.#latest = this.#heardAt + MAX_GOODBYE_MS
    this.over = new Promise((resolve) => (this.#resolve = resolve))
    this.#wait()
  }

  /** Something came: the other end may be sending at this moment. */
  heard(): void {
    this.#heardAt = this.#clock.now()
  }

  /** The other end has closed, or will send nothing more. */
  end(): void {
    this.#clock.clearTimeout(this.#timer)
    this.#resolve()
  }

  #wait(): void {
    const left = Math.min(this.#heardAt + GOODBYE_MS, this.#latest) - this.#clock.now()
    if (left <= 0) this.end()
    else this.#timer = this.#clock.setTimeout(() => this.#wait(), Math.ceil(left))
  }
}
