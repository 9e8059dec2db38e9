import { expect } from 'chai'
import { once } from 'node:events'
import { createServer, request as httpRequest, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import express from 'express'
import { Server as SocketServer } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket, WebSocketServer } from 'ws'
import { SOCKET_PATH } from '#src/protocol/naming.js'
import { NameClient } from '#src/signal/name-client.js'
import { candidate, codeOf, Fixture, ManualClock, next, offer, secret, silent } from './nameserver-fixture.js'

describe('name server', () => {
  const fixture = new Fixture()
  afterEach(() => fixture.end())

  describe('over HTTP', () => {
    it('says that it serves, and nothing about its software', async () => {
      const { url } = await fixture.serve()
      const response = await fetch(`${url}/healthz`)
      expect(response.status).to.equal(200)
      expect(await response.json()).to.deep.equal({ status: 'ok', sockets: 0 })
      expect(response.headers.get('x-powered-by')).to.equal(null)
      expect(response.headers.get('x-content-type-options')).to.equal('nosniff')
      expect((await fetch(`${url}/elsewhere`)).status).to.equal(404)
    })

    it('serves the browser script to pages of any origin, or says that it is not built', async () => {
      const { url } = await fixture.serve()
      const response = await fetch(`${url}/named-master.js`)
      expect(response.headers.get('cross-origin-resource-policy')).to.equal('cross-origin')
      if (response.status === 200) expect(response.headers.get('access-control-allow-origin')).to.equal('*')
      else expect(await response.text()).to.contain('npm run build')
    })

    it('names the port that is in use', async () => {
      const { url } = await fixture.serve()
      expect(await codeOf(fixture.serve({ port: Number(new URL(url).port) }))).to.equal('port-in-use')
    })

    it('closes twice, ends its connections and frees its port', async () => {
      const server = await fixture.serve()
      const client = await fixture.client(server.url)
      const port = Number(new URL(server.url).port)
      const lost = next(client, 'status')
      await Promise.all([server.close(), server.close()])
      expect(await lost).to.equal('disconnected')
      const again = next(client, 'status')
      await fixture.serve({ port })
      expect(await again).to.equal('connected')
    })
  })

  it('does not wait at its end for who began a request and says no more', async () => {
    const server = await fixture.serve()
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write('GET /healthz HTTP/1.1\r\n')
    // Accepted after it, so the server knows the first one.
    await fetch(`${server.url}/healthz`)
    const closed = once(socket, 'close')
    socket.on('error', silent)
    await server.close()
    await closed
  })

  it('leaves no timer behind, whatever was under way', async () => {
    const clock = new ManualClock()
    const server = await fixture.serve({ clock, data: await fixture.folder() })
    const { client: master } = await fixture.master(server.url, 'garage')
    const slave = await fixture.client(server.url)
    await slave.request('connect', { name: 'garage', offer })
    master.onIntroduction = () => new Promise(() => undefined)
    const late = [
      codeOf(slave.request('connect', { name: 'garage', offer })),
      codeOf(slave.request('startServer', { name: 'attic', attempt: secret() })),
    ]
    expect(clock.pending).to.be.greaterThan(0)
    await server.close()
    expect(clock.pending).to.equal(0)
    await Promise.all(late)
    expect(clock.pending).to.equal(0)
  })

  describe('beside an application', () => {
    async function application(): Promise<{ server: Server; app: express.Express; port: number }> {
      const app = express()
      const server = createServer(app)
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      fixture.after(async () => {
        server.closeAllConnections()
        await new Promise((resolve) => server.close(resolve))
      })
      return { server, app, port: (server.address() as AddressInfo).port }
    }

    it('leaves its Socket.IO, its WebSocket and its routes alone, and its server open', async () => {
      const { server, app, port } = await application()
      const theirs = new SocketServer(server, { destroyUpgrade: false })
      theirs.on('connection', (socket) => socket.on('hello', (answer: (text: string) => void) => answer('theirs')))
      const sockets = new WebSocketServer({ noServer: true })
      server.on('upgrade', (request, socket, head) => {
        if (request.url === '/ws') sockets.handleUpgrade(request, socket, head, (ws) => ws.send('theirs'))
      })
      const before = server.listeners('request')
      const ours = await fixture.serve({ server })
      app.use(ours.handler)
      app.get('/', (_request, response) => void response.send('theirs'))
      expect(server.listeners('request')).to.deep.equal(before)

      const base = `http://127.0.0.1:${port}`
      expect(ours.url).to.equal(base)
      expect(await (await fetch(base)).text()).to.equal('theirs')
      expect((await fetch(`${base}/healthz`)).status).to.equal(200)
      const client = await fixture.client(base)
      expect(await client.request('watch', { name: 'garage' })).to.include({ live: false })

      const socket = io(base, { transports: ['websocket'] })
      fixture.after(() => socket.disconnect())
      expect(await socket.emitWithAck('hello')).to.equal('theirs')
      const ws = new WebSocket(`ws://127.0.0.1:${port}/ws`)
      fixture.after(() => ws.terminate())
      expect(String((await once(ws, 'message'))[0])).to.equal('theirs')

      const lost = next(client, 'status')
      await ours.close()
      expect(await lost).to.equal('disconnected')
      expect(server.listening).to.equal(true)
      // Theirs go on; ours answers that it is gone.
      expect(await socket.emitWithAck('hello')).to.equal('theirs')
      expect(await (await fetch(base)).text()).to.equal('theirs')
      expect((await fetch(`${base}/healthz`)).status).to.equal(503)
      expect((await fetch(`${base}${SOCKET_PATH}/?EIO=4&transport=polling`)).status).to.equal(503)
      theirs.disconnectSockets(true)
    })

    it('ends an upgrade that is for nobody, which without it Node would have ended', async () => {
      const { server, port } = await application()
      await fixture.serve({ server })
      const ws = new WebSocket(`ws://127.0.0.1:${port}/nobody`)
      expect(((await once(ws, 'error'))[0] as Error).message).to.match(/hang up|reset/)
    })

    it('works without Express', async () => {
      const server = createServer()
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      fixture.after(() => server.close())
      const ours = await fixture.serve({ server })
      server.on('request', ours.handler)
      expect((await fetch(`${ours.url}/healthz`)).status).to.equal(200)
      expect((await fetch(`${ours.url}/elsewhere`)).status).to.equal(404)
    })
  })

  describe('at the door', () => {
    const handshake = (url: string, headers: Record<string, string>, transport = 'polling') =>
      new Promise<number>((resolve, reject) => {
        const upgrade = {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        }
        const request = httpRequest(`${url}${SOCKET_PATH}/?EIO=4&transport=${transport}`, {
          headers: { ...headers, ...(transport === 'websocket' && upgrade) },
        })
        request.on('response', (response) => response.resume().on('end', () => resolve(response.statusCode ?? 0)))
        request.on('upgrade', (_response, socket) => {
          socket.destroy()
          resolve(101)
        })
        request.on('error', reject).end()
      })

    it('lets pages of the listed origins in, by polling and by websocket, and no others', async () => {
      const { url } = await fixture.serve({ origins: ['https://good.example'] })
      for (const transport of ['polling', 'websocket']) {
        const [well, refused] = transport === 'polling' ? [200, 403] : [101, 400]
        expect(await handshake(url, { origin: 'https://good.example' }, transport)).to.equal(well)
        expect(await handshake(url, { origin: 'https://evil.example' }, transport)).to.equal(refused)
        expect(await handshake(url, { origin: 'null' }, transport)).to.equal(refused)
        expect(await handshake(url, {}, transport)).to.equal(well)
      }
    })

    it('takes so many sockets of one address, and tells the next one why', async () => {
      const { url } = await fixture.serve({ limits: { socketsPerAddress: 2 } })
      const first = await fixture.raw(url)
      await fixture.raw(url)
      const third = new NameClient(url, { log: silent })
      expect(await codeOf(third.connect())).to.equal('too-many')
      first.socket.close()
      await once(first.socket, 'close')
      await third.connect()
      third.close()
    })

    it('believes X-Forwarded-For only when told to', async () => {
      const trusting = await fixture.serve({ limits: { socketsPerAddress: 1 }, trustProxy: true })
      const forwarded = (address: string) => handshake(trusting.url, { 'x-forwarded-for': `6.6.6.6, ${address}` })
      expect(await forwarded('192.0.2.1')).to.equal(200)
      expect(await forwarded('192.0.2.1')).to.equal(403)
      expect(await forwarded('192.0.2.2')).to.equal(200)
      const wary = await fixture.serve({ limits: { socketsPerAddress: 1 } })
      expect(await handshake(wary.url, { 'x-forwarded-for': '192.0.2.1' })).to.equal(200)
      expect(await handshake(wary.url, { 'x-forwarded-for': '192.0.2.2' })).to.equal(403)
    })

    it('notices a socket that does not answer pings, and frees what it had', async () => {
      const { url } = await fixture.serve({ pingInterval: 100, pingTimeout: 100 })
      const dead = await fixture.raw(url)
      await dead.request('startServer', { name: 'garage', attempt: secret() })
      dead.pongs = false
      await once(dead.socket, 'close')
      const client = await fixture.client(url)
      expect(await codeOf(client.request('connect', { name: 'garage', offer }))).to.equal('master-offline')
    })

    it('hands out the ICE servers with the welcome, with a credential that ends where there is a secret', async () => {
      const turn = {
        iceServers: [
          { url: 'stun:stun.example:3478' },
          { urls: ['turn:turn.example'], username: 'ada', secret: 'shared' },
        ],
      }
      const { url } = await fixture.serve({ turn })
      const { iceServers } = await fixture.client(url)
      expect(iceServers[0]).to.deep.equal({ urls: ['stun:stun.example:3478'] })
      expect(iceServers[1]?.username).to.match(/^\d{10}:ada$/)
      expect(JSON.stringify(iceServers)).not.to.contain('shared')
    })

    it('hands them out again before a credential ends', async () => {
      const clock = new ManualClock()
      const { url } = await fixture.serve({
        clock,
        turn: { iceServers: [{ url: 'turn:turn.example', secret: 'shared' }] },
      })
      const raw = await fixture.raw(url)
      const welcomes = () => raw.received.filter((packet) => packet.includes('"command":"welcome"')).length
      for (const expected of [2, 3]) {
        clock.advance(12 * 60 * 60 * 1000)
        await raw.request('watch', { name: 'garage' })
        expect(welcomes()).to.equal(expected)
      }
    })
  })

  it('never says to all what is for one', async () => {
    const { url } = await fixture.serve()
    const bystander = await fixture.raw(url)
    const heard = bystander.received.length
    const { client: master, key } = await fixture.master(url, 'garage')
    const slave = await fixture.client(url)
    await slave.request('watch', { name: 'attic' })
    const { introduction } = await slave.request('connect', { name: 'garage', offer })
    await slave.request('signal', { introduction, candidate: candidate('x') })
    const successor = await fixture.client(url)
    const evicted = next(master, 'evicted')
    await successor.request('startServer', { name: 'garage', key, attempt: secret() })
    await evicted
    slave.close()
    master.close()
    // An answer of its own comes after all that could have come.
    await bystander.request('watch', { name: 'garage' })
    expect(bystander.received.slice(heard).filter((packet) => packet !== '2')).to.have.length(1)
  })

  it('is reached by polling alone', async () => {
    const { url } = await fixture.serve()
    const socket = io(url, { path: SOCKET_PATH, transports: ['polling'], forceNew: true })
    fixture.after(() => socket.disconnect())
    const [welcome] = await new Promise<[{ command: string }]>((resolve) =>
      socket.once('message', (...args: [{ command: string }]) => resolve(args)),
    )
    expect(welcome.command).to.equal('welcome')
  })
})
