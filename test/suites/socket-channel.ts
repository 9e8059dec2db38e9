/**
 * A Channel over a TCP socket of this machine: what wrtc is in life, for tests that kill processes a thousand times. The
 * kernel closes it at once with the process that held it.
 */
import type { Socket } from 'node:net'
import type { Channel, Receiver } from '#src/link/channel.js'
import type { Frame } from '#src/link/frames.js'

/** Of each frame on the wire: its length, and whether it is text. */
const HEAD_BYTES = 5

export class SocketChannel implements Channel {
  readonly maxFrameBytes = 65_536
  readonly #socket: Socket
  #receiver: Receiver | undefined
  #received = Buffer.alloc(0)
  #closed = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.pause()
    // What went wrong is told by `close`.
    socket.on('error', () => undefined)
    socket.on('drain', () => this.#receiver?.drained())
    socket.on('data', (bytes) => this.#take(bytes))
    socket.on('close', () => this.#end())
  }

  get bufferedAmount(): number {
    return this.#socket.writableLength
  }

  attach(receiver: Receiver): void {
    this.#receiver = receiver
    if (this.#closed) receiver.closed()
    else this.#socket.resume()
  }

  send(frame: Frame): void {
    if (this.#socket.destroyed) throw new Error('the socket is closed')
    const body = Buffer.from(frame as string)
    const head = Buffer.alloc(HEAD_BYTES)
    head.writeUInt32BE(body.length)
    head[4] = typeof frame === 'string' ? 1 : 0
    this.#socket.write(Buffer.concat([head, body]))
  }

  path(): Promise<'direct'> {
    return Promise.resolve('direct')
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve()
      this.#socket.once('close', () => resolve())
      this.#socket.end(() => this.#socket.destroy())
    })
  }

  /** Cuts it: what is on its way may be lost. */
  cut(): void {
    this.#socket.resetAndDestroy()
  }

  #take(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes])
    while (this.#received.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + this.#received.readUInt32BE()
      if (this.#received.length < end) return
      const body = this.#received.subarray(HEAD_BYTES, end)
      const frame = this.#received[4] === 1 ? body.toString() : new Uint8Array(body)
      this.#received = this.#received.subarray(end)
      this.#receiver?.frame(frame)
    }
  }

  #end(): void {
    if (this.#closed) return
    this.#closed = true
    this.#receiver?.closed()
  }
}
