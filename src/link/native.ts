/**
 * The one owner of a native connection's life. Every RTCPeerConnection of this package is made here and closed here,
 * once, when it may be: its channels first, never in the middle of an operation, and not while it still gathers
 * candidates (wrtc was seen to crash processes that then ended). An open one keeps a Node process
 * alive; after `nativeConnections.idle()` none does.
 */
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import type { IceServer } from '../protocol/naming.js'
import type { RtcEngine } from '#rtc'

/** A channel that closes tells the other end and waits for it; a dead other end never answers. */
const CHANNEL_CLOSE_MS = 1000

/**
 * Gathering takes 100 ms, and as long as its servers need to answer; one that never answers keeps it up for 40 s, which
 * is longer than a program should wait for its end.
 */
const GATHERING_MS = 5_000

/** An operation takes milliseconds, on a busy machine seconds. */
const OPERATION_MS = 5_000

const alive = new Set<NativeConnection>()
let waiting: (() => void)[] = []

/** Those of this process. For tests and for programs that end themselves. */
export const nativeConnections = {
  get open(): number {
    return alive.size
  },
  /** Resolves when none is open: all were closed, and their native side is gone. */
  idle(): Promise<void> {
    return alive.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))
  },
}

export interface NativeOptions {
  readonly iceServers?: readonly IceServer[]
  /** 'relay' takes no other path than a TURN server's. */
  readonly iceTransportPolicy?: RTCIceTransportPolicy
  readonly clock?: Clock
}

/** For the constructors: an engine would throw the same, at the first connection. @throws TypeError */
export function checkPolicy(policy: RTCIceTransportPolicy = 'all'): RTCIceTransportPolicy {
  if (policy === 'all' || policy === 'relay') return policy
  throw new TypeError(`iceTransportPolicy: "${String(policy)}" is neither "all" nor "relay"`)
}

export class NativeConnection {
  readonly #peer: RTCPeerConnection
  readonly #clock: Clock
  readonly #policy: RTCIceTransportPolicy
  readonly #channels: RTCDataChannel[] = []
  /** The operation in progress and those behind it. */
  #tail: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | undefined

  constructor(engine: RtcEngine, options: NativeOptions = {}) {
    this.#clock = options.clock ?? systemClock
    this.#policy = options.iceTransportPolicy ?? 'all'
    this.#peer = new engine.RTCPeerConnection(this.#configuration(options.iceServers ?? []))
    alive.add(this)
  }

  /** For listeners and for what only looks. Operations go through `run`. */
  get peer(): RTCPeerConnection {
    return this.#peer
  }

  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** For what is gathered from now on. */
  setIceServers(iceServers: readonly IceServer[]): void {
    if (!this.closed) this.#peer.setConfiguration(this.#configuration(iceServers))
  }

  createChannel(label: string, init: RTCDataChannelInit): RTCDataChannel {
    const channel = this.#peer.createDataChannel(label, init)
    this.#channels.push(channel)
    return channel
  }

  /** One operation after the other, none after close (rejects with `closed`). */
  run<T>(operation: (peer: RTCPeerConnection) => Promise<T>): Promise<T> {
    const done = this.#tail.then(() => {
      if (this.closed) throw new NamedMasterError('closed', 'This connection is closed; make a new one.')
      return operation(this.#peer)
    })
    this.#tail = done.catch(() => undefined)
    return done
  }

  /** Idempotent; never rejects. Resolves when the native side is gone. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all([
      ...this.#channels.map((channel) => this.#closeChannel(channel)),
      this.#operated().then(() => this.#gathered()),
    ])
    this.#peer.close()
    // wrtc frees two threads and a dozen files with the last reference to the channel, not before.
    this.#channels.length = 0
    alive.delete(this)
    if (alive.size > 0) return
    const told = waiting
    waiting = []
    for (const resolve of told) resolve()
  }

  /** A channel that never opened has nobody to wait for. */
  #closeChannel(channel: RTCDataChannel): Promise<void> {
    const opened = channel.readyState === 'open' || channel.readyState === 'closing'
    const closed = opened
      ? this.#until(channel, 'close', CHANNEL_CLOSE_MS, () => channel.readyState === 'closed')
      : undefined
    channel.close()
    return closed ?? Promise.resolve()
  }

  /** Until the operation in progress has ended. One whose connection was closed under it never does, in wrtc. */
  #operated(): Promise<void> {
    if (this.#peer.signalingState === 'closed') return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(resolve, OPERATION_MS)
      void this.#tail.then(() => {
        this.#clock.clearTimeout(timer)
        resolve()
      })
    })
  }

  #gathered(): Promise<void> {
    const done = () => this.#peer.iceGatheringState !== 'gathering'
    return this.#until(this.#peer, 'icegatheringstatechange', GATHERING_MS, done)
  }

  #until(target: EventTarget, event: string, ms: number, done: () => boolean): Promise<void> {
    if (done()) return Promise.resolve()
    return new Promise((resolve) => {
      const check = () => {
        if (done()) finish()
      }
      const finish = () => {
        this.#clock.clearTimeout(timer)
        target.removeEventListener(event, check)
        resolve()
      }
      const timer = this.#clock.setTimeout(finish, ms)
      target.addEventListener(event, check)
    })
  }

  #configuration(iceServers: readonly IceServer[]): RTCConfiguration {
    return { iceServers: iceServers.map((server) => ({ ...server })), iceTransportPolicy: this.#policy }
  }
}
