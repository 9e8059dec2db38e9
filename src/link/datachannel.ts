/**
 * A Channel over a real RTCDataChannel, and the negotiation that opens it (offer and answer as in RFC 8829, candidates
 * trickled as in RFC 8838). Only the slave offers. The channel is negotiated (`negotiated: true, id: 0`), ordered and
 * reliable, so that it opens with the connection and there is no other.
 *
 * Promises: remote candidates may come at any time; nothing is left behind after `close`. Sets no deadline: an ICE that
 * fails says so late or never, so the caller has a timer of its own.
 */
import { NamedMasterError } from '../errors.js'
import { Events } from '../events.js'
import type { Candidate, Description, IceServer } from '../protocol/naming.js'
import type { RtcEngine } from '#rtc'
import type { Channel, Receiver } from './channel.js'
import { DEFAULT_FRAME_BYTES, MIN_FRAME_BYTES, type Frame } from './frames.js'
import { NativeConnection, type NativeOptions } from './native.js'

/**
 * No more bytes than this in a frame, whatever the other end takes. Larger ones are not faster (measured from 16 KiB to
 * 256 KiB: 64 KiB has all of the throughput), make urgent messages wait longer, and wrtc closes its channel silently at
 * one above 262,144.
 */
const MAX_FRAME_BYTES = 65_536

/** Below it the engine says `bufferedamountlow`, in bytes; a quarter of what a link keeps there. */
const LOW_WATER_BYTES = 128 * 1024

/** Remote candidates kept until the description is there; an end gathers about ten. */
export const MAX_KEPT_CANDIDATES = 64

/** A STUN or TURN server gave no candidate: it answered an error (RFC 8656), or was not reached (codes from 700 on). */
export interface ServerFault {
  readonly url: string
  readonly code: number
  readonly text: string
}

export interface ConnectionEvents {
  /** One of ours, for the other end; one with an empty text ends the list. */
  candidate: [candidate: Candidate]
  serverFault: [fault: ServerFault]
  /** Once. Whoever listens makes a link of it in the same turn. */
  open: [channel: Channel]
  /** ICE or DTLS gave up: close, and connect anew. (May never come, see above.) */
  failed: []
  /** Once, whoever closed it. The native side may need some moments more: see `close`. */
  closed: [reason: NamedMasterError]
}

export class Connection implements AsyncDisposable {
  readonly events = new Events<ConnectionEvents>()
  readonly #native: NativeConnection
  #offer: Promise<Description> | undefined
  /** Whether remote candidates belong to the remote description that is set. */
  #remoteKnown = false
  #kept: Candidate[] = []
  /** Bytes that the other end takes in one frame, once its description is known. */
  #frameBytes = DEFAULT_FRAME_BYTES
  #told = false

  private constructor(rtc: RtcEngine, options: NativeOptions) {
    this.#native = new NativeConnection(rtc, options)
    this.#watchChannel(this.#native.createChannel('named-master', { negotiated: true, id: 0, ordered: true }))
    this.#watchPeer(this.#native.peer)
  }

  // Two functions, and no field for the channel: whoever keeps it, and be it the scope of a listener on the peer, keeps
  // its native side (see native.ts).

  #watchChannel(channel: RTCDataChannel): void {
    channel.binaryType = 'arraybuffer'
    channel.bufferedAmountLowThreshold = LOW_WATER_BYTES
    channel.addEventListener('open', () => {
      if (!this.#native.closed) this.events.emit('open', new DataChannel(this, channel, this.#frameBytes))
    })
    channel.addEventListener('close', () => {
      void this.#close(new NamedMasterError('closed', 'The connection was closed or cut; connect again.'))
    })
  }

  #watchPeer(peer: RTCPeerConnection): void {
    // Nobody of ours opens a second one, and whoever does would have the engine keep what comes on it, unread.
    peer.addEventListener('datachannel', () => {
      void this.#close(new NamedMasterError('invalid-message', 'The other end opened a channel of its own.'))
    })
    peer.addEventListener('icecandidate', ({ candidate }) => this.#localCandidate(candidate))
    peer.addEventListener('icecandidateerror', ({ url, errorCode, errorText }) => {
      if (!this.#native.closed) this.events.emit('serverFault', { url, code: errorCode, text: errorText })
    })
    peer.addEventListener('connectionstatechange', () => {
      if (peer.connectionState === 'failed' && !this.#native.closed) this.events.emit('failed')
    })
  }

  /** The slave's side. Makes the native connection at once: not before it is needed. */
  static offering(rtc: RtcEngine, options: NativeOptions = {}): Connection {
    return new Connection(rtc, options)
  }

  /** The master's side. */
  static answering(rtc: RtcEngine, options: NativeOptions = {}): Connection {
    return new Connection(rtc, options)
  }

  /** For what is gathered from now on: an offer may be made before they are known. */
  setIceServers(servers: readonly IceServer[]): void {
    this.#native.setIceServers(servers)
  }

  /**
   * The offer. Made once; when nobody answered it, it serves for the next try. Opens no socket: gathering begins with
   * `accept`.
   */
  description(): Promise<Description> {
    this.#offer ??= this.#native.run(async (peer) => described(await peer.createOffer()))
    return this.#offer
  }

  /** The answer to our offer. Rejects with `invalid-message` when it is none. */
  async accept(answer: Description): Promise<void> {
    const offer = await this.description()
    return this.#negotiate(async (peer) => {
      demandData(answer)
      await peer.setLocalDescription(offer)
      await this.#setRemote(peer, answer)
    })
  }

  /** Answers an offer. Rejects with `invalid-message` when it is none. */
  answer(offer: Description): Promise<Description> {
    return this.#negotiate(async (peer) => {
      demandData(offer)
      await this.#setRemote(peer, offer)
      const answer = described(await peer.createAnswer())
      await peer.setLocalDescription(answer)
      return answer
    })
  }

  /** One of the other end's. Kept until its description is known; beyond MAX_KEPT_CANDIDATES they are dropped. */
  addCandidate(candidate: Candidate): void {
    if (this.#native.closed) return
    if (this.#remoteKnown) void this.#native.run((peer) => add(peer, candidate)).catch(() => undefined)
    else if (this.#kept.length < MAX_KEPT_CANDIDATES) this.#kept.push(candidate)
  }

  /** 'relay' when either end of the selected pair is one; undefined when none is selected. */
  async path(): Promise<'direct' | 'relay' | undefined> {
    if (this.#native.closed) return undefined
    try {
      return pathOf(await this.#native.peer.getStats())
    } catch {
      return undefined
    }
  }

  /** Idempotent; never rejects. Resolves when the native side is gone, which an ICE server that does not answer can delay by 5 s. */
  close(): Promise<void> {
    return this.#close(new NamedMasterError('closed', 'This connection is closed; make a new one.'))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #close(reason: NamedMasterError): Promise<void> {
    const gone = this.#native.close()
    this.#kept = []
    if (!this.#told) {
      this.#told = true
      this.events.emit('closed', reason)
    }
    return gone
  }

  /** What is wrong with a description is the other end's fault; the rest passes. */
  async #negotiate<T>(operation: (peer: RTCPeerConnection) => Promise<T>): Promise<T> {
    try {
      return await this.#native.run(operation)
    } catch (thrown) {
      throw NamedMasterError.from(
        thrown,
        'invalid-message',
        'The other end sent a session description that cannot be used.',
      )
    }
  }

  #localCandidate(candidate: RTCIceCandidate | null): void {
    if (this.#native.closed) return
    // null ends all gathering, an empty text that of one generation; both are said as the latter.
    this.events.emit('candidate', {
      candidate: candidate?.candidate ?? '',
      sdpMid: candidate?.sdpMid ?? null,
      sdpMLineIndex: candidate?.sdpMLineIndex ?? 0,
    })
  }

  async #setRemote(peer: RTCPeerConnection, description: Description): Promise<void> {
    // Read here and not later from the engine: wrtc crashes when it is asked for a description while it adds candidates.
    this.#frameBytes = frameBytesOf(description)
    await peer.setRemoteDescription(description)
    this.#remoteKnown = true
    for (const candidate of this.#kept.splice(0)) await add(peer, candidate)
  }
}

/** The open channel of a connection; to close it is to close the connection. */
class DataChannel implements Channel {
  readonly maxFrameBytes: number
  readonly #owner: Connection
  /** Until it is closed. */
  #native: RTCDataChannel | undefined
  #receiver: Receiver | undefined
  #early: Frame[] = []

  constructor(owner: Connection, native: RTCDataChannel, maxFrameBytes: number) {
    this.#owner = owner
    this.#native = native
    this.maxFrameBytes = maxFrameBytes
    native.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
      const frame = typeof data === 'string' ? data : new Uint8Array(data)
      if (this.#receiver === undefined) this.#early.push(frame)
      else this.#receiver.frame(frame)
    })
    native.addEventListener('bufferedamountlow', () => this.#receiver?.drained())
    owner.events.once('closed', () => {
      this.#native = undefined
      this.#receiver?.closed()
    })
  }

  get bufferedAmount(): number {
    return this.#native?.bufferedAmount ?? 0
  }

  attach(receiver: Receiver): void {
    this.#receiver = receiver
    for (const frame of this.#early.splice(0)) receiver.frame(frame)
    if (this.#native === undefined) receiver.closed()
  }

  send(frame: Frame): void {
    // No protection from a channel that ends during `send`, which wrtc does not survive: see goodbye.ts.
    if (this.#native?.readyState !== 'open') {
      throw new NamedMasterError('closed', 'This connection is closed; make a new one.')
    }
    // The engines copy what they are given; a cast, because lib.dom asks for a view of an ArrayBuffer proper.
    if (typeof frame === 'string') this.#native.send(frame)
    else this.#native.send(frame as Uint8Array<ArrayBuffer>)
  }

  path(): Promise<'direct' | 'relay' | undefined> {
    return this.#owner.path()
  }

  close(): Promise<void> {
    return this.#owner.close()
  }
}

function described({ type, sdp }: RTCSessionDescriptionInit | RTCLocalSessionDescriptionInit): Description {
  if ((type !== 'offer' && type !== 'answer') || sdp === undefined) {
    throw new NamedMasterError(
      'internal',
      'The WebRTC engine made no description; pass another one in the option "rtc".',
    )
  }
  return { type, sdp }
}

function frameBytesOf({ sdp }: Description): number {
  const announced = /^a=max-message-size:(\d+)/m.exec(sdp)?.[1]
  // Zero is "any size" (RFC 8841 section 6.1).
  const limit = announced === undefined ? DEFAULT_FRAME_BYTES : Number(announced) || MAX_FRAME_BYTES
  return Math.max(MIN_FRAME_BYTES, Math.min(limit, MAX_FRAME_BYTES))
}

/**
 * Exactly one section, of data. An engine makes a transport for each that is not bundled, with its sockets:
 * a stranger's offer of 40 KB, with 120 sections of video, was answered with 960 open files.
 */
function demandData({ sdp }: Description): void {
  const sections = sdp.match(/^m=.*/gm) ?? []
  if (sections.length === 1 && sections[0]?.startsWith('m=application ')) return
  throw new NamedMasterError(
    'invalid-message',
    'The other end sent a session description that is not for one data channel: it must have one section, of data.',
  )
}

/** One that this engine cannot use (another generation's, an address family it lacks) is no failure: others may do. */
async function add(peer: RTCPeerConnection, candidate: Candidate): Promise<void> {
  try {
    await peer.addIceCandidate(candidate)
  } catch {
    return
  }
}

type Stat = Readonly<Record<string, unknown>>

function pathOf(report: RTCStatsReport): 'direct' | 'relay' | undefined {
  const stats = new Map<string, Stat>()
  report.forEach((stat: Stat, id: string) => stats.set(id, stat))
  const of = (id: unknown): Stat | undefined => (typeof id === 'string' ? stats.get(id) : undefined)
  const all = [...stats.values()]
  const transport = all.find((stat) => stat.type === 'transport' && stat.selectedCandidatePairId !== undefined)
  const pair =
    of(transport?.selectedCandidatePairId) ??
    all.find((stat) => stat.type === 'candidate-pair' && stat.nominated === true && stat.state === 'succeeded')
  if (pair === undefined) return undefined
  const ends = [of(pair.localCandidateId), of(pair.remoteCandidateId)]
  return ends.some((end) => end?.candidateType === 'relay') ? 'relay' : 'direct'
}
