/**
 * A slave made by hand of wrtc and socket.io-client, with nothing of this package's own: it says whatever a test gives
 * it, frame by frame, and keeps what it is told.
 */
import { io, type Socket } from 'socket.io-client'
import { loadRtc } from '#rtc'

export interface Said {
  readonly command: string
  readonly payload: Readonly<Record<string, unknown>>
  readonly uuid: string
}

/** Version 7 as far as anybody looks. */
const uuid = (): string => {
  const hex = Array.from({ length: 32 }, () => Math.floor(Math.random() * 16).toString(16)).join('')
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, '$1-$2-7$3-8$4-$5')
}

export const envelope = (command: string, payload: unknown) => ({
  command,
  payload,
  uuid: uuid(),
  timestamp: Date.now(),
})

const LANE_ORDERED = 1
const LAST_PIECE = 0x80
const PIECE_BYTES = 60_000

export class RawSlave {
  /** False leaves pings unanswered: then nobody knows how long the way is. */
  #answersPings = true
  /** All that came, heartbeats left out. */
  readonly heard: Said[] = []
  readonly #socket: Socket
  readonly #peer: RTCPeerConnection
  readonly #channel: RTCDataChannel
  readonly #waiting: (() => void)[] = []
  readonly #closed: Promise<void>
  #introduction: unknown

  private constructor(socket: Socket, peer: RTCPeerConnection) {
    this.#socket = socket
    this.#peer = peer
    this.#channel = peer.createDataChannel('by hand', { negotiated: true, id: 0 })
    this.#channel.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
      for (const message of JSON.parse(String(data)) as Said[]) this.#hear(message)
    })
    // The state of a channel may be `closed` while the last messages still wait to be told: only the event says that it is over.
    this.#closed = new Promise((resolve) => this.#channel.addEventListener('close', () => resolve()))
    void this.#closed.then(() => this.#look())
  }

  /** An open channel to the master of that name, on which nothing has been said. */
  static async dial(url: string, name: string, answersPings = true): Promise<RawSlave> {
    const { RTCPeerConnection } = await loadRtc()
    const socket = io(url, { path: '/named-master/socket.io', transports: ['websocket'] })
    const raw = new RawSlave(socket, new RTCPeerConnection())
    raw.#answersPings = answersPings
    await raw.#open(name)
    return raw
  }

  isOpen(): boolean {
    return this.#channel.readyState === 'open'
  }

  /** One text frame of envelopes. */
  say(...messages: unknown[]): void {
    this.frame(JSON.stringify(messages))
  }

  frame(frame: string | Uint8Array<ArrayBuffer>): void {
    if (!this.isOpen()) return
    if (typeof frame === 'string') this.#channel.send(frame)
    else this.#channel.send(frame)
  }

  /** One message of any size in binary frames; `end` false leaves it unfinished. Stops when the other end has closed. */
  async pieces(text: string, end = true): Promise<void> {
    const bytes = new TextEncoder().encode(text)
    for (let at = 0; at < bytes.length && this.isOpen(); at += PIECE_BYTES) {
      const last = end && at + PIECE_BYTES >= bytes.length
      const piece = bytes.subarray(at, at + PIECE_BYTES)
      this.frame(new Uint8Array([LANE_ORDERED | (last ? LAST_PIECE : 0), ...piece]))
      // The engine's own buffer is small, and a reader may close in the middle.
      while (this.isOpen() && this.#channel.bufferedAmount > 1024 * 1024)
        await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Says a proper hello, as a client of its own; resolves when the state is here. */
  async hello(): Promise<void> {
    const secret = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url')
    const payload = { versions: { oldest: 1, newest: 1 }, secret, calls: [], encodings: ['json'] }
    this.say(envelope('hello', payload))
    await this.hears('snapshot')
  }

  /** The first message of that command (and that `wanted` takes), which has come or comes; rejects when the channel closes. */
  async hears(command: string, wanted: (payload: Said['payload']) => boolean = () => true): Promise<Said> {
    for (;;) {
      const said = this.heard.find((message) => message.command === command && wanted(message.payload))
      if (said !== undefined) return said
      if (!this.isOpen()) throw new Error(`The channel closed before a ${command} came`)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  /** What the master said last, once the channel is closed. */
  async ended(): Promise<Said | undefined> {
    await this.#closed
    return this.heard.at(-1)
  }

  /** Resolves when everything said before has been taken, with the master's version: a call of a method that is not there. */
  async caughtUp(call: number): Promise<number> {
    this.say(envelope('call', { call, method: 'no such method', lowestCall: 0 }))
    const { payload } = await this.hears('answer', (answer) => answer.call === call)
    return payload.version as number
  }

  /** The commit of its own change with that seq. */
  async taken(seq: number): Promise<void> {
    await this.hears('commit', ({ origin }) => (origin as { client: number; seq: number } | undefined)?.seq === seq)
  }

  async close(): Promise<void> {
    this.#channel.close()
    await this.ended()
    this.#peer.close()
    this.#socket.close()
  }

  async #open(name: string): Promise<void> {
    const opened = new Promise((resolve) => this.#channel.addEventListener('open', resolve))
    const own: RTCIceCandidate[] = []
    const signal = (candidate: RTCIceCandidate): void => {
      const { sdpMid, sdpMLineIndex } = candidate
      const init = { candidate: candidate.candidate, sdpMid, sdpMLineIndex }
      this.#socket.emit('message', envelope('signal', { introduction: this.#introduction, candidate: init }))
    }
    this.#peer.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate === null) return
      if (this.#introduction === undefined) own.push(candidate)
      else signal(candidate)
    })
    // Not asked of the engine: wrtc crashes when it is asked for a description while it adds candidates.
    let described = false
    const early: RTCIceCandidateInit[] = []
    this.#socket.on('message', ({ command, payload }: Said) => {
      if (command !== 'signal') return
      const candidate = payload.candidate as RTCIceCandidateInit
      if (!described) early.push(candidate)
      else this.#add(candidate)
    })
    const { type, sdp } = await this.#peer.createOffer()
    await this.#peer.setLocalDescription({ type, sdp: sdp ?? '' })
    const answer = (await this.#socket.emitWithAck(
      'message',
      envelope('connect', { name, offer: { type, sdp } }),
    )) as Said
    if (answer.command !== 'result') throw new Error(JSON.stringify(answer.payload))
    this.#introduction = answer.payload.introduction
    await this.#peer.setRemoteDescription(answer.payload.answer as RTCSessionDescriptionInit)
    described = true
    for (const candidate of early) this.#add(candidate)
    for (const candidate of own) signal(candidate)
    await opened
  }

  #add(candidate: RTCIceCandidateInit): void {
    // One that this engine cannot use: others will do.
    this.#peer.addIceCandidate(candidate).catch(() => undefined)
  }

  #hear(message: Said): void {
    // Answered as any living end would, so that nothing here ends for being silent.
    if (message.command === 'ping') {
      if (this.#answersPings) this.say({ ...envelope('pong', {}), uuid: message.uuid })
      return
    }
    this.heard.push(message)
    this.#look()
    if (message.command === 'goodbye') this.#channel.close()
  }

  #look(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
