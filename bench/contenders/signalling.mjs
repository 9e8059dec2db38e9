/**
 * Clients of a name server and of a `peer` server that do nothing but what is measured: bare WebSockets, which cost less
 * than the servers do, so that one process of them keeps a server busy.
 */
import { WebSocket } from 'ws'
import { envelope } from '#src/protocol/envelope.js'
import { SOCKET_PATH } from '#src/protocol/naming.js'
import { newSecret } from '#src/signal/secret.js'
import { descriptionOf } from '../content.mjs'

const OFFER = descriptionOf('offer')
const ANSWER = descriptionOf('answer')

/** One after the other: so that a server counts each as a client of an address of its own. */
let addresses = 0
const ownAddress = () => `10.${(addresses >> 16) & 255}.${(addresses >> 8) & 255}.${addresses++ & 255}`

/** A client of named-master's name server: Engine.IO's and Socket.IO's packets by hand. */
export class NameSocket {
  #socket
  #asked = new Map()
  #number = 0

  /** Resolves when it is welcomed. */
  static async open(url) {
    const client = new NameSocket()
    const address = `${url.replace(/^http/, 'ws')}${SOCKET_PATH}/?EIO=4&transport=websocket`
    client.#socket = new WebSocket(address, { perMessageDeflate: false, headers: { 'x-forwarded-for': ownAddress() } })
    await new Promise((resolve, reject) => {
      client.#socket.on('message', (data) => client.#hear(data.toString(), resolve))
      client.#socket.on('error', reject)
    })
    return client
  }

  async register(name) {
    const { answer, key } = await this.#ask('startServer', { name, attempt: newSecret() })
    if (answer !== 'registered') throw new Error(`startServer answered ${answer}`)
    await this.#ask('confirm', { name, key })
  }

  introduce(name) {
    return this.#ask('connect', { name, offer: OFFER })
  }

  close() {
    this.#socket.terminate()
  }

  #ask(command, payload) {
    const number = ++this.#number
    this.#socket.send(`42${number}${JSON.stringify(['message', envelope(command, payload)])}`)
    return new Promise((resolve, reject) => this.#asked.set(number, { resolve, reject }))
  }

  #hear(text, welcomed) {
    if (text === '2') return this.#socket.send('3')
    if (text.startsWith('0')) return this.#socket.send('40')
    const [, kind, number, json] = /^(4\d)(\d*)(.*)$/s.exec(text)
    if (kind === '42') {
      const [, message] = JSON.parse(json)
      if (message.command === 'welcome') welcomed()
      if (message.command === 'introduction') {
        this.#socket.send(`43${number}${JSON.stringify([envelope('result', { answer: ANSWER }, message.uuid)])}`)
      }
    } else if (kind === '43') {
      const { resolve, reject } = this.#asked.get(Number(number))
      this.#asked.delete(Number(number))
      const [{ command, payload }] = JSON.parse(json)
      if (command === 'result') resolve(payload)
      else reject(new Error(payload.message))
    }
  }
}

/** A client of a `peer` server. */
export class PeerSocket {
  #socket
  #waiting = new Map()

  /** Resolves when its id is registered. */
  static async open(url, id) {
    const client = new PeerSocket()
    const address = `${url.replace(/^http/, 'ws')}/peerjs?key=peerjs&id=${id}&token=${id}&version=1.5.5`
    client.#socket = new WebSocket(address, { perMessageDeflate: false })
    await new Promise((resolve, reject) => {
      client.#socket.on('message', (data) => client.#hear(JSON.parse(data.toString()), resolve))
      client.#socket.on('error', reject)
    })
    return client
  }

  introduce(dst) {
    const connectionId = `${Math.random()}`
    const payload = {
      sdp: OFFER,
      type: 'data',
      connectionId,
      label: connectionId,
      reliable: true,
      serialization: 'binary',
    }
    this.#socket.send(JSON.stringify({ type: 'OFFER', dst, payload }))
    return new Promise((resolve) => this.#waiting.set(connectionId, resolve))
  }

  close() {
    this.#socket.terminate()
  }

  #hear(message, opened) {
    const { type, src, payload } = message
    if (type === 'OPEN') opened()
    if (type === 'OFFER') {
      const answer = { sdp: ANSWER, type: 'data', connectionId: payload.connectionId }
      this.#socket.send(JSON.stringify({ type: 'ANSWER', dst: src, payload: answer }))
    }
    if (type === 'ANSWER') {
      this.#waiting.get(payload.connectionId)(payload)
      this.#waiting.delete(payload.connectionId)
    }
  }
}
