/**
 * A Channel: what a Link is built on. Ordered, reliable frames both ways, until it is closed or cut; nothing is known
 * here of what they say. There are two: datachannel.ts, over a real RTCDataChannel, and memory.ts.
 */
import type { Frame } from './frames.js'

/** The one who is told. Nothing is told after `closed`. */
export interface Receiver {
  frame(frame: Frame): void
  /** bufferedAmount has fallen. A hint: an engine may never give it (wrtc does not). */
  drained(): void
  /** Once, whoever closed it. */
  closed(): void
}

export interface Channel {
  /** Bytes of the largest frame that the other end takes. */
  readonly maxFrameBytes: number
  /** Bytes given to `send` that have not left yet. Asking may be slow (in wrtc it is a call to another thread, 60 us). */
  readonly bufferedAmount: number
  /** Gives it its one receiver, and that what came before. */
  attach(receiver: Receiver): void
  /** Takes a copy of the frame. Throws when the channel is closed or its buffer full. */
  send(frame: Frame): void
  /** 'relay' when a relay is between the two ends; undefined when it is not known. */
  path(): Promise<'direct' | 'relay' | undefined>
  /** Ends the channel and whatever it needs; what has left still arrives. Resolves when it is gone. Never rejects. */
  close(): Promise<void>
}
