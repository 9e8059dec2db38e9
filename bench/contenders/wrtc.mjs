/** Two bare wrtc ends with one channel, introduced by the process that measures: what the hardware and the engine allow. */
import wrtc from 'wrtc'
import { tell } from '../child.mjs'
import { times } from '../times.mjs'

/**
 * Bytes in the channel's buffer above which a sender waits: enough that it never runs dry between two looks, which are
 * a millisecond apart (the engine tells nobody of a low buffer, and looking all the time was a quarter slower).
 */
const HIGH_WATER_BYTES = 1024 * 1024
const LOOK_MS = 1

/** One end, in its own process. `receive(data)` gets what comes. */
export class BareEnd {
  #peer
  #receive
  channel

  constructor(receive = () => undefined) {
    this.#receive = receive
  }

  /** What the measuring process asks for by `introduce`; a row's process adds its own commands. */
  get commands() {
    return {
      offer: () => this.#describe(),
      answer: (offer) => this.#describe(offer),
      accept: async (answer) => {
        await this.#peer.setRemoteDescription(answer)
      },
      candidate: (candidate) => this.#peer.addIceCandidate(candidate),
      hangUp: () => {
        this.channel.close()
        this.#peer.close()
      },
    }
  }

  /** Resolves when there is room for more. */
  async room() {
    while (this.channel.bufferedAmount > HIGH_WATER_BYTES) await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }

  async #describe(offer) {
    const peer = (this.#peer = new wrtc.RTCPeerConnection({ iceServers: [] }))
    this.channel = peer.createDataChannel('bench', { negotiated: true, id: 0, ordered: true })
    this.channel.binaryType = 'arraybuffer'
    this.opened = new Promise((resolve) => (this.channel.onopen = resolve))
    this.channel.onmessage = ({ data }) => this.#receive(data)
    peer.onicecandidate = ({ candidate }) => candidate && tell('candidate', candidate.toJSON())
    if (offer !== undefined) await peer.setRemoteDescription(offer)
    const description = await (offer === undefined ? peer.createOffer() : peer.createAnswer())
    await peer.setLocalDescription(description)
    return { type: description.type, sdp: description.sdp }
  }
}

/** The processes of two ends that send texts to and fro: one asks, the other answers. */
export function pingPong(question, answer) {
  const echo = new BareEnd(() => echo.channel.send(answer))
  let answered
  const caller = new BareEnd(() => answered())
  return {
    bareEcho: echo.commands,
    bareCaller: {
      ...caller.commands,
      opened: () => caller.opened.then(() => undefined),
      round: (count) =>
        times(count, () => {
          caller.channel.send(question)
          return new Promise((resolve) => (answered = resolve))
        }),
    },
  }
}

/** Connects two ends, each in its process. Resolves when both descriptions are set; `opened` of the ends follows. */
export async function introduce(offerer, answerer) {
  const kept = []
  let known = false
  offerer.removeAllListeners('candidate')
  answerer.removeAllListeners('candidate')
  offerer.on('candidate', (candidate) => (known ? void answerer.ask('candidate', candidate) : kept.push(candidate)))
  const back = []
  answerer.on('candidate', (candidate) => back.push(candidate))
  const offer = await offerer.ask('offer')
  const answer = await answerer.ask('answer', offer)
  known = true
  for (const candidate of kept) void answerer.ask('candidate', candidate)
  await offerer.ask('accept', answer)
  answerer.removeAllListeners('candidate')
  answerer.on('candidate', (candidate) => void offerer.ask('candidate', candidate))
  for (const candidate of back) void offerer.ask('candidate', candidate)
}
