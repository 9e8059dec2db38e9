/**
 * A proxy in front of a name server's websocket. It records what passes and cuts the connection where a test says so: a
 * network that fails at exactly that message.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'

export interface Passing {
  readonly from: 'client' | 'server'
  /** A Socket.IO packet, as in `421["message",{...}]`. */
  readonly text: string
}

export class SocketProxy {
  /** What passed, heartbeats and the handshake left out. */
  readonly passed: Passing[] = []
  /** Answers true to cut the connection instead of passing this on. */
  cut: (passing: Passing) => boolean = () => false
  readonly #target: string
  readonly #http = createServer()
  readonly #server = new WebSocketServer({ server: this.#http })

  private constructor(target: string) {
    this.#target = target.replace(/^http/, 'ws')
    this.#server.on('connection', (client, request) => this.#join(client, request.url ?? '/'))
  }

  static async open(target: string): Promise<SocketProxy> {
    const proxy = new SocketProxy(target)
    proxy.#http.listen(0, '127.0.0.1')
    await once(proxy.#http, 'listening')
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.sever()
    this.#http.closeAllConnections()
    await new Promise((resolve) => this.#http.close(resolve))
  }

  /** Cuts all connections now; and for as long as `cut` says so, none comes through. */
  sever(): void {
    for (const client of this.#server.clients) client.terminate()
  }

  #join(client: WebSocket, path: string): void {
    const server = new WebSocket(`${this.#target}${path}`)
    const end = (): void => {
      client.terminate()
      server.terminate()
    }
    const pass = (from: Passing['from'], to: WebSocket) => (data: unknown) => {
      const passing = { from, text: String(data) }
      if (this.cut(passing)) {
        end()
        return
      }
      if (/^4[23]/.test(passing.text)) this.passed.push(passing)
      to.send(passing.text)
    }
    // What the client says before the way is open waits in its socket.
    client.pause()
    server.on('open', () => client.resume())
    client.on('message', pass('client', server))
    server.on('message', pass('server', client))
    for (const side of [client, server]) side.on('close', end).on('error', end)
  }
}
