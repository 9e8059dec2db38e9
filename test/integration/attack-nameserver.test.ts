/** What a client may try that no single message shows: much of what is small, and things said again. */
import { expect } from 'chai'
import { once } from 'node:events'
import { INTRODUCTION_MS, MAX_CANDIDATES_PER_SIDE, STARTS_PER_ADDRESS_AT_ONCE } from '#nameserver/limits.js'
import { envelope } from '#src/protocol/envelope.js'
import { candidate, codeOf, Fixture, ManualClock, next, offer, secret } from './nameserver-fixture.js'

describe('name server: a patient attacker', () => {
  const fixture = new Fixture()
  afterEach(() => fixture.end())

  it('is closed for what it says below its messages', async () => {
    const { url } = await fixture.serve()
    const hostile = await fixture.raw(url)
    const other = await fixture.client(url)
    const closed = once(hostile.socket, 'close')
    for (let i = 0; i < 20_000; i++) hostile.socket.send('40/no-such-namespace,')
    await closed
    expect(await other.request('watch', { name: 'garage' })).to.include({ live: false })
  })

  it('watches no more names when it asks for many in one packet', async () => {
    const { url } = await fixture.serve({ limits: { watchesPerSocket: 2 } })
    const hostile = await fixture.raw(url)
    const names = Array.from({ length: 20 }, (_, i) => `name-${i}`)
    const packets = names.map((name) => `42${JSON.stringify(['message', envelope('watch', { name })])}`)
    for (const packet of packets) hostile.socket.send(packet)
    await hostile.request('unwatch', { name: 'other' })
    let available = 0
    hostile.socket.on('message', (data: Buffer) => {
      if (data.toString().includes('"available"')) available++
    })
    for (const name of names) await fixture.master(url, name)
    await hostile.request('unwatch', { name: 'other' })
    expect(available).to.be.at.most(2)
  })

  it('sends a master only so many candidates in one introduction', async () => {
    const { url } = await fixture.serve()
    const { client: master } = await fixture.master(url, 'garage')
    const hostile = await fixture.client(url)
    const { introduction } = await hostile.request('connect', { name: 'garage', offer })
    let heard = 0
    master.events.on('signal', () => heard++)
    const signal = (n: number) => hostile.request('signal', { introduction, candidate: candidate(`${n}`) })
    for (let n = 0; n < MAX_CANDIDATES_PER_SIDE; n++) await signal(n)
    expect(await codeOf(signal(0))).to.equal('too-many')
    const back = next(hostile, 'signal')
    await master.request('signal', { introduction, candidate: candidate('mine') })
    await back
    expect(heard).to.equal(MAX_CANDIDATES_PER_SIDE)
  })

  it('cannot make an introduction last by opening it again', async () => {
    const clock = new ManualClock()
    const { url } = await fixture.serve({ clock })
    await fixture.master(url, 'garage')
    const hostile = await fixture.client(url)
    const { introduction } = await hostile.request('connect', { name: 'garage', offer })
    await hostile.request('opened', { introduction })
    clock.advance(INTRODUCTION_MS - 1)
    await hostile.request('opened', { introduction })
    const ended = next(hostile, 'ended')
    clock.advance(1)
    expect(await ended).to.equal(introduction)
  })

  it('starts its names only so often: each is a write to the disk', async () => {
    const { url } = await fixture.serve({ clock: new ManualClock(), limits: { messagesPerSocketPerSecond: 100_000 } })
    const { client, key } = await fixture.master(url, 'garage')
    const start = () => client.request('startServer', { name: 'garage', key, attempt: secret() })
    for (let n = 1; n < STARTS_PER_ADDRESS_AT_ONCE; n++) await start()
    expect(await codeOf(start())).to.equal('too-many')
  })
})
