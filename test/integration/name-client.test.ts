import { expect } from 'chai'
import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import { Server as SocketServer } from 'socket.io'
import { v7 } from 'uuid'
import { envelope } from '#src/protocol/envelope.js'
import { SOCKET_PATH } from '#src/protocol/naming.js'
import { NameClient } from '#src/signal/name-client.js'
import { codeOf, Fixture, ManualClock, next, offer, secret, silent } from './nameserver-fixture.js'

describe('name client', () => {
  const fixture = new Fixture()
  afterEach(() => fixture.end())

  const make = (url: string, options = {}) => {
    const client = new NameClient(url, { log: silent, ...options })
    fixture.after(() => client.close())
    return client
  }
  const listening = async (server: Server) => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  it('refuses what is no URL of a name server, in the constructor', () => {
    for (const url of ['', 'garage', 'ftp://host', 'localhost:8002', '//host']) {
      expect(() => new NameClient(url), url).to.throw(TypeError)
    }
  })

  it('takes http and ws, with and without a slash, and a path before a proxy that strips it', async () => {
    const { url } = await fixture.serve()
    const { port } = new URL(url)
    for (const spelling of [url, `${url}/`, `ws://127.0.0.1:${port}`, `http://localhost:${port}/`]) {
      const client = make(spelling)
      await client.connect()
      expect(client.status).to.equal('connected')
    }
    // A reverse proxy without websockets: the path is stripped, polling does.
    const proxy = createServer((request, response) => {
      const path = (request.url ?? '').replace(/^\/names/, '')
      const { method, headers } = request
      delete headers.connection
      delete headers.upgrade
      const onward = httpRequest({ host: '127.0.0.1', port, path, method, headers }, (back) => {
        response.writeHead(back.statusCode ?? 500, back.headers)
        back.pipe(response)
      })
      onward.on('error', () => response.destroy())
      request.pipe(onward)
    })
    const proxyPort = await listening(proxy)
    fixture.after(() => {
      proxy.closeAllConnections()
      proxy.close()
    })
    const client = make(`http://127.0.0.1:${proxyPort}/names/`)
    await client.connect()
    expect(await client.request('watch', { name: 'garage' })).to.include({ live: false })
  })

  it('is connected only when it was welcomed, once for many callers', async () => {
    const { url } = await fixture.serve({ turn: { iceServers: [{ url: 'stun:stun.example' }] } })
    const client = make(url)
    const statuses: string[] = []
    client.events.on('status', (status) => statuses.push(status))
    await Promise.all([client.connect(), client.connect(), client.connect()])
    await client.connect()
    expect(statuses).to.deep.equal(['connected'])
    expect(client.iceServers).to.deep.equal([{ urls: ['stun:stun.example'] }])
  })

  it('says that nobody is there, and can be asked again', async () => {
    const server = await fixture.serve()
    const port = Number(new URL(server.url).port)
    await server.close()
    const client = make(server.url)
    expect(await codeOf(client.connect())).to.equal('name-server-unreachable')
    expect(await codeOf(client.request('watch', { name: 'garage' }))).to.equal('name-server-unreachable')
    await fixture.serve({ port })
    await client.connect()
    expect(client.status).to.equal('connected')
  })

  it('stops waiting for a silent server by its timeout and by abort, each caller for itself', async () => {
    const silence = createTcpServer((socket) => fixture.after(() => socket.destroy()))
    const port = await listening(silence)
    fixture.after(() => silence.close())
    const clock = new ManualClock()
    const client = make(`http://127.0.0.1:${port}`, { clock })
    const controller = new AbortController()
    const aborted = codeOf(client.connect({ signal: controller.signal }))
    const late = codeOf(client.connect({ timeout: 1_000 }))
    const later = codeOf(client.connect({ timeout: 2_000 }))
    controller.abort()
    expect(await aborted).to.equal('aborted')
    clock.advance(1_000)
    expect(await late).to.equal('timeout')
    clock.advance(1_000)
    expect(await later).to.equal('timeout')
    expect(await codeOf(client.connect({ signal: AbortSignal.abort() }))).to.equal('aborted')
  })

  it('ends its requests with the socket, by timeout and by abort', async () => {
    const clock = new ManualClock()
    const server = await fixture.serve()
    const { client: master } = await fixture.master(server.url, 'garage')
    master.onIntroduction = () => new Promise(() => undefined)
    const client = make(server.url, { clock })
    await client.connect()
    const connect = (options = {}) => codeOf(client.request('connect', { name: 'garage', offer }, options))
    const controller = new AbortController()
    const answers = [connect({ signal: controller.signal }), connect({ timeout: 5 }), connect()]
    controller.abort()
    clock.advance(5)
    await server.close()
    expect(await Promise.all(answers)).to.deep.equal(['aborted', 'timeout', 'name-server-unreachable'])
    expect(client.status).to.equal('disconnected')
  })

  it('comes back by itself, and says so', async () => {
    const server = await fixture.serve()
    const client = make(server.url)
    await client.connect()
    let status = next(client, 'status')
    await server.close()
    expect(await status).to.equal('disconnected')
    expect(await codeOf(client.request('watch', { name: 'garage' }))).to.equal('name-server-unreachable')
    status = next(client, 'status')
    await fixture.serve({ port: Number(new URL(server.url).port) })
    expect(await status).to.equal('connected')
    expect(await client.request('watch', { name: 'garage' })).to.include({ live: false })
  })

  it('closes for good: everybody who waits is told, a second close does nothing', async () => {
    const { url } = await fixture.serve()
    const client = make(url)
    const waiting = codeOf(client.connect())
    client.close()
    client.close()
    expect(await waiting).to.equal('closed')
    expect(await codeOf(client.connect())).to.equal('closed')
    expect(await codeOf(client.request('watch', { name: 'garage' }))).to.equal('closed')
  })

  describe('with a name server that is none', () => {
    /** Speaks Socket.IO, and whatever the test wants. */
    async function impostor(greet: (emit: (message: unknown) => void) => void, answer?: unknown): Promise<string> {
      const http = createServer()
      const server = new SocketServer(http, { path: SOCKET_PATH })
      fixture.after(() => server.close())
      server.on('connection', (socket) => {
        greet((message) => void socket.emit('message', message))
        socket.on('message', (_message: unknown, acknowledge: (answer: unknown) => void) => acknowledge(answer))
      })
      return `http://127.0.0.1:${await listening(http)}`
    }
    const welcome = (oldest: number, newest: number) =>
      envelope('welcome', { versions: { oldest, newest }, iceServers: [] })

    it('says whose version is too old', async () => {
      const client = make(await impostor((emit) => emit(welcome(1_000, 1_001))))
      expect(await codeOf(client.connect())).to.equal('unsupported-version')
    })

    it('drops what it cannot read, and goes on', async () => {
      const dropped: string[] = []
      const url = await impostor((emit) => {
        for (const message of [null, 7, {}, { command: 'evicted' }, envelope('available', { name: 7 })]) emit(message)
        emit(welcome(1, 1))
      })
      const client = make(url, { log: (_level: string, sentence: string) => dropped.push(sentence) })
      await client.connect()
      expect(dropped).to.have.length(5)
    })

    it('rejects an answer that is none, or that answers something else', async () => {
      for (const answer of [undefined, 7, {}, envelope('result', { live: false }), envelope('result', {}, v7())]) {
        const client = make(await impostor((emit) => emit(welcome(1, 1)), answer))
        await client.connect()
        expect(await codeOf(client.request('watch', { name: 'garage' }))).to.equal('invalid-message')
      }
    })

    it('does not take a connection without a welcome for a name server', async () => {
      const clock = new ManualClock()
      const client = make(await impostor(() => undefined), { clock, timeout: 60_000 })
      const connecting = codeOf(client.connect({ timeout: 1_000 }))
      clock.advance(1_000)
      expect(await connecting).to.equal('timeout')
      expect(client.status).to.equal('disconnected')
    })
  })

  it('takes the name server’s errors for what they are', async () => {
    const { url } = await fixture.serve()
    const client = make(url)
    await client.connect()
    const error: unknown = await client
      .request('startServer', { name: 'a', attempt: secret() })
      .catch((e: unknown) => e)
    expect(error).to.include({ name: 'NamedMasterError', code: 'invalid-name', remote: true })
    expect((error as Error).message).to.contain('3 to 63')
  })
})
