import { expect } from 'chai'
import { v7 } from 'uuid'
import { NamedMasterError } from '#src/errors.js'
import { answer, candidate, codeOf, Fixture, ManualClock, next, offer, secret } from './nameserver-fixture.js'

describe('name server: introductions', () => {
  const fixture = new Fixture()
  afterEach(() => fixture.end())

  it('introduces a slave in one request and one answer, and relays candidates both ways', async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    let asked: unknown
    master.onIntroduction = async (payload) => {
      asked = payload
      return { answer }
    }
    const slave = await fixture.client(url)
    const { introduction, answer: given } = await slave.request('connect', { name: 'Garage', offer })
    expect(asked).to.deep.equal({ introduction, name: 'garage', offer })
    expect(given).to.deep.equal(answer)
    const [toMaster, toSlave] = [next(master, 'signal'), next(slave, 'signal')]
    await slave.request('signal', { introduction, candidate: candidate('from the slave') })
    await master.request('signal', { introduction, candidate: candidate('from the master') })
    expect(await toMaster).to.deep.equal({ introduction, candidate: candidate('from the slave') })
    expect(await toSlave).to.deep.equal({ introduction, candidate: candidate('from the master') })
  })

  it("sends the master's early candidates after the answer, in order", async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    master.onIntroduction = async ({ introduction }) => {
      await Promise.all(
        ['1', '2', '3'].map((text) => master.request('signal', { introduction, candidate: candidate(text) })),
      )
      return { answer }
    }
    const slave = await fixture.raw(url)
    const connected = await slave.request('connect', { name: 'garage', offer })
    expect(connected.command).to.equal('result')
    await slave.until((packet) => packet.includes('"candidate":"3"'))
    const kinds = slave.received.filter((packet) => /^43|"signal"/.test(packet)).map((packet) => packet.slice(0, 2))
    expect(kinds).to.deep.equal(['43', '42', '42', '42'])
    const order = slave.received.flatMap((packet) => /"candidate":"(\d)"/.exec(packet)?.[1] ?? [])
    expect(order).to.deep.equal(['1', '2', '3'])
  })

  it('refuses the signals of strangers, also with the true id, and of made-up ids', async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    const slave = await fixture.client(url)
    const { introduction } = await slave.request('connect', { name: 'garage', offer })
    const stranger = await fixture.client(url)
    const heard: unknown[] = []
    for (const client of [master, slave]) client.events.on('signal', (signal) => heard.push(signal))
    for (const id of [introduction, v7()]) {
      const signal = { introduction: id, candidate: candidate('spoofed') }
      expect(await codeOf(stranger.request('signal', signal))).to.equal('no-such-introduction')
      expect(await codeOf(stranger.request('end', { introduction: id }))).to.equal('no-such-introduction')
      expect(await codeOf(stranger.request('opened', { introduction: id }))).to.equal('no-such-introduction')
    }
    // Still live, and nothing of the stranger's came through before this.
    const signal = next(master, 'signal')
    await slave.request('signal', { introduction, candidate: candidate('true') })
    await signal
    expect(heard).to.deep.equal([{ introduction, candidate: candidate('true') }])
  })

  it('takes the id from the socket, whatever the message says', async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    const slave = await fixture.client(url)
    const { introduction } = await slave.request('connect', { name: 'garage', offer })
    const spoof = await fixture.raw(url)
    const payload = { introduction, candidate: candidate('x'), from: 'slave', socket: 'slave', src: 'slave' }
    expect((await spoof.request('signal', payload)).payload.code).to.equal('no-such-introduction')
    const signal = next(master, 'signal')
    await slave.request('signal', { introduction, candidate: candidate('true') })
    expect(await signal).to.deep.equal({ introduction, candidate: candidate('true') })
  })

  it('does not let the slave of one introduction into another of the same master', async () => {
    const { url } = await fixture.serve()
    await fixture.master(url, 'garage')
    const [one, two] = [await fixture.client(url), await fixture.client(url)]
    const first = await one.request('connect', { name: 'garage', offer })
    const second = await two.request('connect', { name: 'garage', offer })
    expect(first.introduction).not.to.equal(second.introduction)
    const signal = { introduction: first.introduction, candidate: candidate('x') }
    expect(await codeOf(two.request('signal', signal))).to.equal('no-such-introduction')
  })

  it('ends by either side and with either socket, and tells the other', async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    const slave = await fixture.client(url)
    const connect = async () => (await slave.request('connect', { name: 'garage', offer })).introduction

    let introduction = await connect()
    let ended = next(master, 'ended')
    await slave.request('end', { introduction })
    expect(await ended).to.equal(introduction)
    expect(await codeOf(master.request('signal', { introduction, candidate: candidate('late') }))).to.equal(
      'no-such-introduction',
    )

    introduction = await connect()
    ended = next(slave, 'ended')
    await master.request('end', { introduction })
    expect(await ended).to.equal(introduction)

    introduction = await connect()
    ended = next(slave, 'ended')
    master.close()
    expect(await ended).to.equal(introduction)
    expect(await codeOf(slave.request('connect', { name: 'garage', offer }))).to.equal('master-offline')
  })

  it('tells the master when the slave goes, before and after its answer', async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    const slave = await fixture.client(url)
    const { introduction } = await slave.request('connect', { name: 'garage', offer })
    let ended = next<string>(master, 'ended')
    slave.close()
    expect(await ended).to.equal(introduction)

    const hasty = await fixture.client(url)
    const asked = new Promise<string>((resolve) => {
      master.onIntroduction = (payload) => {
        resolve(payload.introduction)
        return new Promise(() => undefined)
      }
    })
    const refused = codeOf(hasty.request('connect', { name: 'garage', offer }))
    const pending = await asked
    ended = next<string>(master, 'ended')
    hasty.close()
    expect(await ended).to.equal(pending)
    expect(await refused).to.equal('closed')
  })

  it('ends 60 s after it was made, and 60 s after it was opened', async () => {
    const clock = new ManualClock()
    const { url } = await fixture.serve({ clock })
    const { client: master } = await fixture.master(url, 'garage')
    const slave = await fixture.client(url)
    const { introduction } = await slave.request('connect', { name: 'garage', offer })
    clock.advance(50_000)
    await slave.request('opened', { introduction })
    clock.advance(59_999)
    await master.request('signal', { introduction, candidate: candidate('late') })
    const ends = Promise.all([next(master, 'ended'), next(slave, 'ended')])
    clock.advance(1)
    expect(await ends).to.deep.equal([introduction, introduction])

    const { introduction: unopened } = await slave.request('connect', { name: 'garage', offer })
    const end = next(slave, 'ended')
    clock.advance(60_000)
    expect(await end).to.equal(unopened)
  })

  it("passes on the master's refusal, and hides what it failed with", async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    const slave = await fixture.client(url)
    master.onIntroduction = () => Promise.reject(new NamedMasterError('refused', 'Not today'))
    expect(await codeOf(slave.request('connect', { name: 'garage', offer }))).to.equal('refused')
    master.onIntroduction = () => Promise.reject(new Error('a path and a password'))
    const failure = await slave.request('connect', { name: 'garage', offer }).catch((error: unknown) => error)
    expect(failure).to.include({ code: 'internal', remote: true })
    expect((failure as Error).message).not.to.contain('password')
    master.onIntroduction = undefined
    expect(await codeOf(slave.request('connect', { name: 'garage', offer }))).to.equal('master-offline')
  })

  it('does not hold it against a slave that the master is busy', async () => {
    const { url } = await fixture.serve({ limits: { connectsPerSocketPerMinute: 1_000 } })
    const { client: master } = await fixture.master(url, 'garage')
    master.onIntroduction = () => Promise.reject(new NamedMasterError('too-many', 'Busy'))
    const slave = await fixture.client(url)
    for (let i = 0; i < 60; i++) {
      expect(await codeOf(slave.request('connect', { name: 'garage', offer }))).to.equal('too-many')
    }
    expect(slave.status).to.equal('connected')
  })

  it('calls a master unreachable that does not answer within 10 s, and tells it that it is too late', async () => {
    const clock = new ManualClock()
    const { url } = await fixture.serve({ clock })
    const { client: master } = await fixture.master(url, 'garage')
    const asked = new Promise((resolve) => {
      master.onIntroduction = (payload) => {
        resolve(payload.introduction)
        return new Promise(() => undefined)
      }
    })
    const slave = await fixture.client(url)
    const refused = codeOf(slave.request('connect', { name: 'garage', offer }))
    const introduction = await asked
    const ended = next(master, 'ended')
    clock.advance(10_000)
    expect(await refused).to.equal('unreachable')
    expect(await ended).to.equal(introduction)
  })

  it('answers a connect to an unknown or absent name at once: one packet there, one back', async () => {
    const { url } = await fixture.serve()
    const { client: master, key } = await fixture.master(url, 'garage')
    await master.request('stopServer', { name: 'garage', key })
    const slave = await fixture.raw(url)
    slave.received.length = 0
    const unknown = await slave.request('connect', { name: 'attic', offer })
    const absent = await slave.request('connect', { name: 'garage', offer })
    expect([unknown.payload.code, absent.payload.code]).to.deep.equal(['no-such-master', 'master-offline'])
    expect(slave.received.filter((packet) => packet !== '2')).to.have.length(2)
  })

  it('tells a watcher once when the name comes up, and says so when it is up already', async () => {
    const { url } = await fixture.serve()
    const slave = await fixture.client(url)
    const heard: string[] = []
    slave.events.on('available', (name) => heard.push(name))
    expect(await slave.request('watch', { name: 'Garage' })).to.include({ live: false })
    const available = next(slave, 'available')
    const { client: master, key } = await fixture.master(url, 'garage')
    expect(await available).to.equal('garage')
    // Once: it comes up a second time and nobody waits.
    await master.request('stopServer', { name: 'garage', key })
    await master.request('startServer', { name: 'garage', key, attempt: secret() })
    expect(await slave.request('watch', { name: 'garage' })).to.include({ live: true })

    await master.request('stopServer', { name: 'garage', key })
    await slave.request('watch', { name: 'garage' })
    await slave.request('unwatch', { name: 'garage' })
    await slave.request('watch', { name: 'attic' })
    await master.request('startServer', { name: 'garage', key, attempt: secret() })
    const attic = next(slave, 'available')
    await fixture.master(url, 'attic')
    await attic
    expect(heard).to.deep.equal(['garage', 'attic'])
  })

  it('finds a dead master and slave by their pings', async () => {
    const { url } = await fixture.serve({ pingInterval: 100, pingTimeout: 100 })
    const dead = await fixture.raw(url)
    await dead.request('startServer', { name: 'garage', attempt: secret() })
    const slave = await fixture.client(url)
    const introduced = slave.request('connect', { name: 'garage', offer })
    dead.pongs = false
    // It took the introduction and never answered; its death answers.
    expect(await codeOf(introduced)).to.equal('master-offline')
  })
})
