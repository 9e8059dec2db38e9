/** What the name server's tests share: real servers on free ports, real clients, all ended after each test. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { createNameServer, type NameServer, type NameServerOptions } from 'named-master/nameserver'
import type { Clock } from '#src/clock.js'
import { envelope } from '#src/protocol/envelope.js'
import { SOCKET_PATH } from '#src/protocol/naming.js'
import { NameClient } from '#src/signal/name-client.js'

export const silent = () => undefined
export const secret = (): string => randomBytes(32).toString('base64url')
export const offer = { type: 'offer', sdp: 'v=0 offer' } as const
export const answer = { type: 'answer', sdp: 'v=0 answer' } as const
export const candidate = (text: string) => ({ candidate: text, sdpMid: '0', sdpMLineIndex: 0 })

/** Time that stands still until it is told to go on. */
export class ManualClock implements Clock {
  #now = 1_000_000
  readonly #timers = new Map<object, { at: number; callback: () => void }>()

  now(): number {
    return this.#now
  }

  setTimeout(callback: () => void, ms: number): unknown {
    const timer = {}
    this.#timers.set(timer, { at: this.#now + ms, callback })
    return timer
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as object)
  }

  get pending(): number {
    return this.#timers.size
  }

  advance(milliseconds: number): void {
    this.#now += milliseconds
    for (const [timer, { at, callback }] of [...this.#timers]) {
      if (at > this.#now || !this.#timers.delete(timer)) continue
      callback()
    }
  }
}

/** One test's belongings. */
export class Fixture {
  readonly #endings: (() => unknown)[] = []

  /** In memory and without ICE servers, unless the test says otherwise. */
  async serve(options: NameServerOptions = {}): Promise<NameServer> {
    const where = options.server === undefined ? { port: 0 } : {}
    const server = await createNameServer({ ...where, data: false, turn: false, log: silent, ...options })
    this.after(() => server.close())
    return server
  }

  async client(url: string, options: ConstructorParameters<typeof NameClient>[1] = {}): Promise<NameClient> {
    const client = new NameClient(url, { log: silent, ...options })
    this.after(() => client.close())
    await client.connect()
    return client
  }

  /** A client that has the name, and answers introductions. */
  async master(url: string, name: string): Promise<{ client: NameClient; key: string }> {
    const client = await this.client(url)
    client.onIntroduction = async () => ({ answer })
    const registered = await client.request('startServer', { name, attempt: secret() })
    if (registered.answer !== 'registered') throw new Error(registered.answer)
    await client.request('confirm', { name, key: registered.key })
    return { client, key: registered.key }
  }

  async folder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'named-master-'))
    this.after(() => rm(folder, { recursive: true, force: true }))
    return folder
  }

  async raw(url: string): Promise<RawClient> {
    const raw = new RawClient(url)
    this.after(() => raw.socket.terminate())
    await raw.joined()
    return raw
  }

  after(ending: () => unknown): void {
    this.#endings.push(ending)
  }

  async end(): Promise<void> {
    for (const ending of this.#endings.splice(0).reverse()) await ending()
  }
}

/** Engine.IO and Socket.IO by hand: says what no client library would, and only what it is told to. */
export class RawClient {
  readonly socket: WebSocket
  readonly received: string[] = []
  readonly #waiting = new Set<() => void>()
  /** Whether the server's pings are answered. */
  pongs = true
  #acknowledgements = 0

  constructor(url: string) {
    this.socket = new WebSocket(`${url.replace(/^http/, 'ws')}${SOCKET_PATH}/?EIO=4&transport=websocket`)
    this.socket.on('message', (data: Buffer) => {
      const text = data.toString()
      if (text === '2' && this.pongs) this.socket.send('3')
      this.received.push(text)
      for (const check of [...this.#waiting]) check()
    })
    this.socket.on('error', silent)
  }

  async joined(): Promise<void> {
    await once(this.socket, 'open')
    this.socket.send('40')
    await this.until((text) => text.startsWith('42["message",{"command":"welcome"'))
  }

  /** The first packet, received already or not, that fits. */
  until(fits: (packet: string) => boolean): Promise<string> {
    return new Promise((resolve) => {
      const check = () => {
        const found = this.received.find(fits)
        if (found === undefined) return
        this.#waiting.delete(check)
        resolve(found)
      }
      this.#waiting.add(check)
      check()
    })
  }

  /** Sends as the event `message` with an acknowledgement, and answers what it was acknowledged with. */
  async say(message: unknown): Promise<{ command: string; payload: { code?: string }; uuid: string }> {
    const id = this.#acknowledgements++
    this.socket.send(`42${id}${JSON.stringify(['message', message])}`)
    const packet = await this.until((text) => text.startsWith(`43${id}[`))
    return (JSON.parse(packet.slice(`43${id}`.length)) as [never])[0]
  }

  request(command: string, payload: unknown) {
    return this.say(envelope(command, payload))
  }
}

/** The code a promise is rejected with; fails when it is not rejected. */
export async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return (error as { code?: unknown }).code ?? error
  }
  throw new Error('It was not rejected')
}

/** The next event of that name. */
export function next<T>(
  client: NameClient,
  event: 'signal' | 'ended' | 'evicted' | 'available' | 'status',
): Promise<T> {
  return new Promise((resolve) => client.events.once(event, (value: unknown) => resolve(value as T)))
}
