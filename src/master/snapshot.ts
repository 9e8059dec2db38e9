/**
 * The state as all who join are sent it: made once, kept encoded. A large one is made in pieces, deflated, while the master goes on.
 *
 * Promises: it is the state of its version, whatever changes meanwhile; the messages are there in their order, and the
 * first at once; between two pieces everybody else has a turn.
 */
import { Events } from '../events.js'
import { encode, type Deflated, type Encoded } from '../link/link.js'
import type { Log } from '../log.js'
import { envelope } from '../protocol/envelope.js'
import type { Down } from '../protocol/replication.js'
import type { JsonValue } from '../protocol/json.js'
import { divide, type Piece } from '../store/pieces.js'

type Message = Encoded<Down> | Deflated<Down>

/** A text's bytes, as raw DEFLATE. */
export type Deflate = (text: string) => Promise<Uint8Array>

export interface SnapshotEvents {
  /** There are more messages, or it is complete now, or it failed. */
  grown: []
}

export class Snapshot {
  readonly events: Events<SnapshotEvents>
  readonly version: number
  /** What is made of it so far. */
  readonly messages: Message[] = []
  /** Characters of JSON made so far. */
  characters = 0
  complete = false
  /** There will be no more of it, and it is not complete. */
  failed = false
  #cancelled = false

  /** @param state which nothing changes from now on (see Tree.pin) */
  constructor(version: number, state: JsonValue | undefined, deflate: Deflate, log: Log) {
    this.version = version
    this.events = new Events((error) => log('error', 'Sending a snapshot failed', { error }))
    const { skeleton, pieces } = state === undefined ? {} : divide(state)
    const whole = skeleton === undefined ? { version } : { version, state: skeleton }
    const first = encode<Down>(envelope('snapshot', pieces === undefined ? whole : { ...whole, more: true }))
    this.messages.push(first)
    this.characters = first.length
    if (pieces === undefined) this.complete = true
    else this.#make(pieces, deflate).catch((error: unknown) => this.#fail(error, log))
  }

  /** The master closes: nobody needs the rest of it. */
  cancel(): void {
    this.#cancelled = true
  }

  /** While one piece is deflated, on another thread, the next is encoded. */
  async #make(pieces: Iterator<Piece, void, undefined>, deflate: Deflate): Promise<void> {
    let previous: Promise<Message> | undefined
    for (let next = pieces.next(); !this.#cancelled && next.done !== true;) {
      const piece = next.value
      next = pieces.next()
      const text = encode<Down>(envelope('part', next.done === true ? { ...piece, last: true } : piece))
      this.characters += text.length
      const waiting = previous
      previous = squeezed(text, deflate)
      if (waiting !== undefined) this.#grow(await waiting)
    }
    if (previous !== undefined) this.#grow(await previous, !this.#cancelled)
  }

  #fail(error: unknown, log: Log): void {
    log('error', 'The state cannot be encoded for those who join', { error })
    this.failed = true
    this.events.emit('grown')
  }

  #grow(message: Message, complete = false): void {
    this.messages.push(message)
    this.complete = complete
    this.events.emit('grown')
  }
}

/** Deflated, or as it is where that fails: both may be sent. */
const squeezed = (text: Encoded<Down>, deflate: Deflate): Promise<Message> =>
  deflate(text).then(
    (bytes) => bytes as Deflated<Down>,
    () => text,
  )
