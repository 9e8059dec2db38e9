/**
 * How much anybody may have: rates, sizes, counts. Exceeding one is answered `too-many` and hurts nobody else.
 *
 * A token bucket of our own: rate-limiter-flexible answers by promises and reads the system's clock, which would put
 * a turn of the event loop between the messages of one socket and take the time out of the tests' hands.
 */
import type { Clock } from '../src/clock.js'
import { NamedMasterError } from '../src/errors.js'

/** Bytes of one message. A session description of 64 Ki characters is at most 192 KiB of UTF-8, and has some escapes. */
export const MAX_MESSAGE_BYTES = 256 * 1024

/** Milliseconds between the server's pings. With the time to answer, a dead socket is found within 9 s. */
export const PING_INTERVAL_MS = 4_000
/** Milliseconds to answer one: several retransmissions on a bad mobile network. */
export const PING_TIMEOUT_MS = 5_000

/** Milliseconds for a fresh connection to join: it has a slot of its address and has said nothing yet. */
export const JOIN_TIMEOUT_MS = 10_000

/** Milliseconds a master has to answer an introduction: it makes a connection and an answer, some 10 ms on a desktop. */
export const MASTER_ANSWER_MS = 10_000

/** Milliseconds an introduction lives when it is not opened, and after it was: late candidates and nothing more. */
export const INTRODUCTION_MS = 60_000

/** Candidates of a master kept until its answer has gone out. A host with many networks has some 20. */
export const MAX_HELD_CANDIDATES = 64

/** Candidates of one side of an introduction in all: the other side tries a path to each, wherever it leads. */
export const MAX_CANDIDATES_PER_SIDE = 128

/** `startServer` of one address a second, and at once: each that finds its name is a write to the disk itself. */
export const STARTS_PER_ADDRESS_PER_SECOND = 10
export const STARTS_PER_ADDRESS_AT_ONCE = 1_000

/** Packets that wait for a client to read them: more than a busy master is told until a dead socket is found. */
export const MAX_UNREAD_PACKETS = 10_000

/** Milliseconds a new name waits for `confirm`: the time to write a key to a slow disk, many times over. */
export const PROVISIONAL_MS = 60_000

/** Malformed or excess messages a socket may send at once, and how many are forgiven each second; then it is closed. */
export const FAULTS_PER_SOCKET = 50
const FAULTS_FORGIVEN_PER_SECOND = 1

/** A bucket that nobody has used for this long is full again, whatever its rate: no need to keep it. */
const SWEEP_INTERVAL_MS = 10 * 60_000

/** What an operator may set; everybody else gets DEFAULT_LIMITS. All are counts, integers from 1. */
export interface Limits {
  /** Sockets of one address (an IPv6 network of 64 bits counts as one). An office or a campus shares one. */
  readonly socketsPerAddress: number
  /** New names of one address in an hour. Starting a name one has the key of is not counted. */
  readonly registrationsPerAddressPerHour: number
  /** Messages a second of one socket; four times as many at once. A master of 1,000 slaves hears and says some 5 for each. */
  readonly messagesPerSocketPerSecond: number
  /** Connects a minute of one socket, half of them at once. A waiting slave watches and does not ask again. */
  readonly connectsPerSocketPerMinute: number
  /** Connects a second to one name; ten times as many at once, for all of its slaves come back at the same moment. */
  readonly connectsPerNamePerSecond: number
  /** Names one socket may wait for. */
  readonly watchesPerSocket: number
}

export const DEFAULT_LIMITS: Limits = {
  socketsPerAddress: 1_000,
  registrationsPerAddressPerHour: 120,
  messagesPerSocketPerSecond: 500,
  connectsPerSocketPerMinute: 60,
  connectsPerNamePerSecond: 100,
  watchesPerSocket: 64,
}

/** Lets `burst` through at once and `perSecond` in the long run. */
export class TokenBucket {
  #tokens: number
  #at: number

  constructor(
    readonly clock: Pick<Clock, 'now'>,
    readonly burst: number,
    readonly perSecond: number,
  ) {
    this.#tokens = burst
    this.#at = clock.now()
  }

  /** Takes one token; false when there is none. */
  take(): boolean {
    this.#refill()
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }

  /** Nothing to remember: a new one would be the same. */
  get full(): boolean {
    this.#refill()
    return this.#tokens >= this.burst
  }

  #refill(): void {
    const now = this.clock.now()
    // A clock that was set back gives nothing and takes nothing.
    const seconds = Math.max(0, now - this.#at) / 1000
    this.#tokens = Math.min(this.burst, this.#tokens + seconds * this.perSecond)
    this.#at = now
  }
}

/** One bucket per key, for as long as it is not full. */
export class Buckets {
  readonly #buckets = new Map<string, TokenBucket>()
  #sweptAt: number

  constructor(
    readonly clock: Pick<Clock, 'now'>,
    readonly burst: number,
    readonly perSecond: number,
  ) {
    this.#sweptAt = clock.now()
  }

  take(key: string): boolean {
    this.#sweep()
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      this.#buckets.set(key, (bucket = new TokenBucket(this.clock, this.burst, this.perSecond)))
    }
    return bucket.take()
  }

  get size(): number {
    return this.#buckets.size
  }

  /** On the way, not by a timer: nothing to stop. */
  #sweep(): void {
    const now = this.clock.now()
    if (now - this.#sweptAt < SWEEP_INTERVAL_MS) return
    this.#sweptAt = now
    for (const [key, bucket] of this.#buckets) if (bucket.full) this.#buckets.delete(key)
  }
}

/**
 * Whatever a connection says, also below and before its messages: twice the rate of these, for pings and acknowledgements,
 * and twice the burst; at least a thousand, so that who exceeds a low limit of messages hears of it first. Who says more is
 * closed, for there is no message to answer.
 */
const LEAST_PACKETS_AT_ONCE = 1_000
export const packetBucket = (limits: Limits, clock: Pick<Clock, 'now'>): TokenBucket =>
  new TokenBucket(
    clock,
    Math.max(LEAST_PACKETS_AT_ONCE, 8 * limits.messagesPerSocketPerSecond),
    2 * limits.messagesPerSocketPerSecond,
  )

/** The rates of one socket. */
export class SocketAllowance {
  readonly #messages: TokenBucket
  readonly #connects: TokenBucket
  readonly #faults: TokenBucket

  constructor(limits: Limits, clock: Pick<Clock, 'now'>) {
    this.#messages = new TokenBucket(clock, 4 * limits.messagesPerSocketPerSecond, limits.messagesPerSocketPerSecond)
    const connects = Math.max(1, limits.connectsPerSocketPerMinute / 2)
    this.#connects = new TokenBucket(clock, connects, limits.connectsPerSocketPerMinute / 60)
    this.#faults = new TokenBucket(clock, FAULTS_PER_SOCKET, FAULTS_FORGIVEN_PER_SECOND)
  }

  /** @throws too-many */
  message(): void {
    if (!this.#messages.take()) throw tooMany('messages on this socket: send fewer a second')
  }

  /** @throws too-many */
  connect(): void {
    if (!this.#connects.take()) throw tooMany('connects on this socket: wait a second between two, or watch the name')
  }

  /** False when this was one too many and the socket is to be closed. */
  fault(): boolean {
    return this.#faults.take()
  }
}

export const tooMany = (what: string): NamedMasterError => new NamedMasterError('too-many', `Too many ${what}`)

/** What counts as one address: all of IPv4, the network half of IPv6 (a host there has 2^64 addresses for the asking). */
export function addressGroup(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped?.[1] !== undefined) return mapped[1]
  if (!address.includes(':')) return address
  const [head = '', tail] = (address.split('%')[0] ?? '').toLowerCase().split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros: string[] =
    tail === undefined ? [] : new Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0')
  const groups = [...left, ...zeros, ...right].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ''))
  return `${groups.join(':')}::/64`
}
