import { expect } from 'chai'
import { once } from 'node:events'
import { createServer, request as httpRequest, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import fc from 'fast-check'
import { Server as SocketServer } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket, WebSocketServer } from 'ws'
import { NamedMasterError } from '#src/errors.js'
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
      expect(await client.request('watch', { name: 'garage' })).to.deep.equal({ live: false })

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

  describe('under load', () => {
    it('answers too-many for registrations, connects and watches, and only to that one', async () => {
      const limits = { registrationsPerAddressPerHour: 2, connectsPerSocketPerMinute: 2, watchesPerSocket: 2 }
      const { url } = await fixture.serve({ limits })
      const client = await fixture.client(url)
      const { client: master } = await fixture.master(url, 'garage')
      await client.request('startServer', { name: 'attic', attempt: secret() })
      expect(await codeOf(client.request('startServer', { name: 'cellar', attempt: secret() }))).to.equal('too-many')
      await client.request('connect', { name: 'garage', offer })
      expect(await codeOf(client.request('connect', { name: 'garage', offer }))).to.equal('too-many')
      await client.request('watch', { name: 'one' })
      await client.request('watch', { name: 'two' })
      expect(await codeOf(client.request('watch', { name: 'three' }))).to.equal('too-many')
      await client.request('unwatch', { name: 'one' })
      await client.request('watch', { name: 'three' })
      expect(await master.request('watch', { name: 'one' })).to.deep.equal({ live: false })
    })

    it('answers too-many for the connects to one name by everybody', async () => {
      const { url } = await fixture.serve({ limits: { connectsPerNamePerSecond: 1 } })
      await fixture.master(url, 'garage')
      const results = await Promise.all(
        Array.from({ length: 12 }, async () => {
          const client = await fixture.client(url)
          const failure: unknown = await client
            .request('connect', { name: 'garage', offer })
            .catch((error: unknown) => error)
          return failure instanceof NamedMasterError ? failure.code : 'introduced'
        }),
      )
      expect(results).to.include('too-many')
      expect(results.filter((result) => result === 'introduced').length).to.be.within(10, 11)
    })

    it('answers too-many to a flood, closes who goes on, and others notice nothing', async () => {
      const { url } = await fixture.serve({ limits: { messagesPerSocketPerSecond: 5 } })
      const flood = await fixture.raw(url)
      const other = await fixture.client(url)
      expect((await flood.request('watch', { name: 'garage' })).command).to.equal('result')
      const closed = once(flood.socket, 'close')
      const answers: string[] = []
      for (let i = 0; i < 200; i++)
        void flood.request('watch', { name: 'garage' }).then(({ payload }) => answers.push(payload.code ?? 'ok'))
      await closed
      expect(answers.filter((one) => one === 'ok').length).to.be.at.most(25)
      expect(answers).to.include('too-many')
      expect(await other.request('watch', { name: 'garage' })).to.deep.equal({ live: false })
    })

    it('closes who sends a message that is too large', async () => {
      const { url } = await fixture.serve()
      const large = await fixture.raw(url)
      const closed = once(large.socket, 'close')
      large.socket.send(`420${JSON.stringify(['message', 'x'.repeat(256 * 1024)])}`)
      await closed
      await fixture.client(url)
    })
  })

  describe('among the malformed', () => {
    it('answers invalid-message to whatever does not parse', async () => {
      const { url } = await fixture.serve()
      const raw = await fixture.raw(url)
      const uuid = '01990000-0000-7000-8000-000000000000'
      const malformed: unknown[] = [
        null,
        7,
        'startServer',
        [],
        {},
        { command: 'startServer' },
        { command: 'toString', payload: {}, uuid, timestamp: 0 },
        { command: '__proto__', payload: {}, uuid, timestamp: 0 },
        { command: 'welcome', payload: {}, uuid, timestamp: 0 },
        { command: 'watch', payload: null, uuid, timestamp: 0 },
        { command: 'watch', payload: { name: ['garage'] }, uuid, timestamp: 0 },
        { command: 'watch', payload: { name: 'garage' }, uuid: 'no uuid', timestamp: 0 },
        { command: 'watch', payload: { name: 'garage' }, uuid, timestamp: -1 },
        { command: 'signal', payload: { introduction: uuid, candidate: 'x' }, uuid, timestamp: 0 },
        {
          command: 'signal',
          payload: { introduction: uuid, candidate: { ...candidate('x'), sdpMLineIndex: 1e9 } },
          uuid,
          timestamp: 0,
        },
        { command: 'connect', payload: { name: 'garage', offer: { type: 'rollback', sdp: '' } }, uuid, timestamp: 0 },
        {
          command: 'connect',
          payload: { name: 'garage', offer: { type: 'offer', sdp: 'x'.repeat(65_537) } },
          uuid,
          timestamp: 0,
        },
      ]
      for (const message of malformed) {
        const { command, payload } = await raw.say(message)
        expect([command, payload.code], JSON.stringify(message)?.slice(0, 80)).to.deep.equal([
          'error',
          'invalid-message',
        ])
      }
      expect((await raw.request('watch', { name: 'garage' })).command).to.equal('result')
    })

    it('drops what wants no answer, and closes who sends many', async () => {
      const { url } = await fixture.serve()
      const raw = await fixture.raw(url)
      const closed = once(raw.socket, 'close')
      for (let i = 0; i < 30; i++) raw.socket.send('42["message",null]')
      for (let i = 0; i < 30; i++) raw.socket.send('42["no such event"]')
      await closed
    })

    it('survives packets that no client would send, and others notice nothing', async () => {
      const { url } = await fixture.serve()
      const { client: master } = await fixture.master(url, 'garage')
      const slave = await fixture.client(url)
      const { introduction } = await slave.request('connect', { name: 'garage', offer })
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
      const packets = [
        '42',
        '42[]',
        '42[7]',
        '42["message"',
        '42["message"]',
        '42["disconnect"]',
        '42["__proto__",{}]',
        '42["message",{"__proto__":{"command":"watch"}}]',
        '420["message",{"command":{"toString":1}}]',
        `420["message",${deep}]`,
        `451-0["message",{"_placeholder":true,"num":0},${deep}]`,
        '451-["message",{"_placeholder":true,"num":99}]',
        '43999["no such acknowledgement"]',
        '44{"message":"error"}',
        '40/users,',
        '40{"sid":"x"}',
        '41',
        '6',
        'x',
        '',
        'b!!!!',
      ]
      for (const packet of packets) {
        const raw = await fixture.raw(url)
        raw.socket.send(packet)
        raw.socket.send(Buffer.from([0, 1, 2]))
        raw.socket.close()
        await once(raw.socket, 'close')
      }
      const signal = next(master, 'signal')
      await slave.request('signal', { introduction, candidate: candidate('still here') })
      expect(await signal).to.deep.equal({ introduction, candidate: candidate('still here') })
    })

    it('survives any payload of any command, each answered, and others notice nothing', async () => {
      const { url } = await fixture.serve({ limits: { messagesPerSocketPerSecond: 100_000 } })
      const { client: master } = await fixture.master(url, 'garage')
      const slave = await fixture.client(url)
      const { introduction } = await slave.request('connect', { name: 'garage', offer })
      const commands = [
        'startServer',
        'confirm',
        'renew',
        'stopServer',
        'connect',
        'watch',
        'unwatch',
        'signal',
        'opened',
        'end',
      ]
      const field = fc.oneof(
        fc.jsonValue(),
        fc.constantFrom('garage', secret(), introduction, offer, candidate('x'), 0, -1, 2 ** 53),
      )
      const names = fc.constantFrom(
        'name',
        'key',
        'attempt',
        'claim',
        'offer',
        'proof',
        'introduction',
        'candidate',
        '__proto__',
      )
      const message = fc.oneof(
        fc.jsonValue(),
        fc.record({ command: fc.constantFrom(...commands), payload: fc.dictionary(names, field) }),
      )
      let raw = await fixture.raw(url)
      await fc.assert(
        fc.asyncProperty(message, async (one) => {
          // Who sends many is closed, which is right and not what this is about.
          if (raw.socket.readyState !== WebSocket.OPEN) raw = await fixture.raw(url)
          const { command, payload } = (one ?? {}) as { command?: unknown; payload?: unknown }
          const known = typeof command === 'string' && commands.includes(command)
          const closed = new Promise<{ command: string }>((resolve) => {
            raw.socket.onclose = () => resolve({ command: 'closed' })
          })
          const answer = await Promise.race([known ? raw.request(command, payload) : raw.say(one), closed])
          expect(answer.command).to.be.oneOf(['result', 'error', 'closed'])
        }),
        { numRuns: 500 },
      )
      const signal = next(master, 'signal')
      await slave.request('signal', { introduction, candidate: candidate('still here') })
      expect(await signal).to.deep.equal({ introduction, candidate: candidate('still here') })
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
