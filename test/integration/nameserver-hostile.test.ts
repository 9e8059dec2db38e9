import { expect } from 'chai'
import { once } from 'node:events'
import fc from 'fast-check'
import { WebSocket } from 'ws'
import { NamedMasterError } from '#src/errors.js'
import { candidate, codeOf, Fixture, next, offer, secret } from './nameserver-fixture.js'

describe('name server: hostile clients', () => {
  const fixture = new Fixture()
  afterEach(() => fixture.end())

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
      expect(await master.request('watch', { name: 'one' })).to.include({ live: false })
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
      expect(await other.request('watch', { name: 'garage' })).to.include({ live: false })
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
})
