/**
 * A Link: two ends exchanging envelopes in order. (Contract; the implementation is this room's.)
 */
import type { Events } from '../events.js'
import type { ErrorCode, NamedMasterError } from '../errors.js'
import type { Envelope, Parsed } from '../protocol/envelope.js'

/**
 * Each lane is in order; between lanes there is none. `urgent` (heartbeats, refusals, answers, goodbye) passes between
 * the chunks of the others; `ordered` is everything else; `bulk` carries large calls, so that they delay no commit.
 */
export type Lane = 'urgent' | 'ordered' | 'bulk'

declare const encoded: unique symbol
/** The JSON text of an envelope, made once and sent on many links. */
export type Encoded<Out> = string & { readonly [encoded]: Out }

export interface LinkEvents<In> extends Record<string, readonly unknown[]> {
  message: [message: In]
  /** There is room again after `hasRoom` was false. */
  room: []
  /** Once, whoever closed and however: what the other end said, or what was noticed here. */
  close: [reason: NamedMasterError]
}

export interface Link<In extends Envelope, Out extends Envelope> {
  readonly events: Events<LinkEvents<In>>
  readonly open: boolean
  /** Never throws and never blocks: what does not fit waits in the lane. On a closed link it does nothing. */
  send(message: Out | Encoded<Out>, lane?: Lane): void
  /** Whether the ordered lane is short enough to be given more. */
  readonly hasRoom: boolean
  /** Of the last heartbeat, in milliseconds. */
  readonly roundTrip: number | undefined
  /** Lifts the budget of a stranger (see `LinkOptions.strangerBytes`). */
  trust(): void
  /** 'relay' when the selected candidate pair has a relay at either end. */
  path(): Promise<'direct' | 'relay' | undefined>
  /** Says `goodbye`, waits until it has left (at most a second), closes. Idempotent. Resolves when the native side is gone. */
  close(code: ErrorCode, message: string): Promise<void>
}

export interface LinkOptions<In extends Envelope> {
  readonly parse: (value: unknown) => Parsed<In>
  /** Bytes of one incoming message; more ends the link with `too-large`. */
  readonly maxMessageBytes: number
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
}
