import { expect } from 'chai'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { openStorage } from '#src/platform/storage.node.js'
import { Names } from '#nameserver/names.js'
import { codeOf, Fixture, ManualClock, next, offer, secret } from './nameserver-fixture.js'

describe('name server: names', () => {
  const fixture = new Fixture()
  afterEach(() => fixture.end())

  it('registers a free name once, of 32 clients at the same moment', async () => {
    const { url } = await fixture.serve({ data: await fixture.folder() })
    const clients = await Promise.all(Array.from({ length: 32 }, () => fixture.client(url)))
    const results = await Promise.all(
      clients.map((client) => client.request('startServer', { name: 'garage', attempt: secret() })),
    )
    expect(results.filter(({ answer }) => answer === 'registered')).to.have.length(1)
    expect(results.filter(({ answer }) => answer === 'exists')).to.have.length(31)
  })

  it('compares names in lower case and refuses what is no name', async () => {
    const { url } = await fixture.serve()
    const { client } = await fixture.master(url, 'garage')
    expect(await client.request('startServer', { name: 'GaRage', attempt: secret() })).to.deep.equal({
      answer: 'exists',
    })
    for (const name of ['ab', '-abc', 'a b c', 'x'.repeat(64), '']) {
      expect(await codeOf(client.request('startServer', { name, attempt: secret() }))).to.equal('invalid-name')
    }
  })

  it('answers a repeated attempt alike, with a key that works, when the first answer was lost', async () => {
    const { url } = await fixture.serve({ data: await fixture.folder() })
    const attempt = secret()
    const client = await fixture.client(url)
    await client.request('watch', { name: 'garage' })
    const available = next(client, 'available')
    const lost = await fixture.raw(url)
    // It hears nothing any more: the answer is on its way and never arrives.
    lost.socket.pause()
    void lost.request('startServer', { name: 'garage', attempt })
    await available
    lost.socket.terminate()
    const again = await client.request('startServer', { name: 'garage', attempt })
    expect(again.answer).to.equal('registered')
    const stranger = await fixture.client(url)
    expect(await stranger.request('startServer', { name: 'garage', attempt: secret() })).to.deep.equal({
      answer: 'exists',
    })
    const key = again.answer === 'registered' ? again.key : ''
    await client.request('confirm', { name: 'garage', key })
    expect(await client.request('startServer', { name: 'garage', key, attempt })).to.deep.equal({
      answer: 'started',
      claim: 2,
    })
  })

  it('gives each repetition a fresh key, and only the last one counts', async () => {
    const { url } = await fixture.serve()
    const client = await fixture.client(url)
    const attempt = secret()
    const first = await client.request('startServer', { name: 'garage', attempt })
    const second = await client.request('startServer', { name: 'garage', attempt })
    if (first.answer !== 'registered' || second.answer !== 'registered') throw new Error('not registered')
    expect(second.key).not.to.equal(first.key)
    expect(second.claim).to.equal(first.claim)
    expect(await codeOf(client.request('confirm', { name: 'garage', key: first.key }))).to.equal('incorrect-key')
    await client.request('confirm', { name: 'garage', key: second.key })
    // Confirmed: the attempt is worth nothing any more.
    expect(await client.request('startServer', { name: 'garage', attempt })).to.deep.equal({ answer: 'exists' })
  })

  it('frees a name that is not confirmed within a minute, and tells its holder', async () => {
    const clock = new ManualClock()
    const { url } = await fixture.serve({ clock })
    const client = await fixture.client(url)
    const first = await client.request('startServer', { name: 'garage', attempt: secret() })
    clock.advance(59_999)
    expect((await client.request('startServer', { name: 'garage', attempt: secret() })).answer).to.equal('exists')
    const evicted = next(client, 'evicted')
    clock.advance(1)
    expect(await evicted).to.deep.equal({ name: 'garage', claim: 2 })
    expect(await codeOf(client.request('connect', { name: 'garage', offer }))).to.equal('no-such-master')
    const key = first.answer === 'registered' ? first.key : ''
    expect(await codeOf(client.request('confirm', { name: 'garage', key }))).to.equal('not-registered')
    const other = await fixture.client(url)
    expect((await other.request('startServer', { name: 'garage', attempt: secret() })).answer).to.equal('registered')
  })

  it('keeps a confirmed name across a restart, in its data folder and as a hash', async () => {
    const data = await fixture.folder()
    const before = await fixture.serve({ data })
    const { key } = await fixture.master(before.url, 'garage')
    await before.close()
    for (const file of await readdir(data, { recursive: true, withFileTypes: true })) {
      if (file.isFile()) expect(await readFile(join(file.parentPath, file.name), 'latin1')).not.to.contain(key)
    }
    const { url } = await fixture.serve({ data })
    const client = await fixture.client(url)
    expect(await client.request('startServer', { name: 'garage', attempt: secret() })).to.deep.equal({
      answer: 'exists',
    })
    const started = await client.request('startServer', { name: 'garage', key, attempt: secret() })
    expect(started).to.deep.equal({ answer: 'started', claim: 2 })
  })

  it('is refilled by its masters when its data was deleted', async () => {
    const data = await fixture.folder()
    const before = await fixture.serve({ data })
    const { key } = await fixture.master(before.url, 'garage')
    await before.close()
    await rm(join(data, 'db'), { recursive: true })
    const { url } = await fixture.serve({ data })
    const client = await fixture.client(url)
    const started = await client.request('startServer', { name: 'garage', key, attempt: secret() })
    expect(started).to.deep.equal({ answer: 'registered', key, claim: 1 })
    const other = await fixture.client(url)
    expect(await other.request('renew', { name: 'attic', key, claim: 7 })).to.deep.equal({
      answer: 'renewed',
      claim: 7,
    })
    expect(await other.request('startServer', { name: 'attic', key, attempt: secret() })).to.deep.equal({
      answer: 'started',
      claim: 8,
    })
  })

  it('refuses wrong and malformed keys, everywhere', async () => {
    const { url } = await fixture.serve()
    const { key } = await fixture.master(url, 'garage')
    const thief = await fixture.client(url)
    const attempt = secret()
    for (const wrong of [secret(), '', 'short', `${key}x`, key.slice(1), key.toLowerCase().padEnd(43, 'a')]) {
      expect(await codeOf(thief.request('startServer', { name: 'garage', key: wrong, attempt }))).to.equal(
        'incorrect-key',
      )
    }
    expect(await codeOf(thief.request('startServer', { name: 'free-name', key: 'short', attempt }))).to.equal(
      'incorrect-key',
    )
    const wrong = secret()
    expect(await codeOf(thief.request('stopServer', { name: 'garage', key: wrong }))).to.equal('incorrect-key')
    expect(await codeOf(thief.request('confirm', { name: 'garage', key: wrong }))).to.equal('incorrect-key')
    expect(await codeOf(thief.request('renew', { name: 'garage', key: wrong, claim: 9 }))).to.equal('incorrect-key')
    // Nothing of it moved the name.
    expect((await thief.request('connect', { name: 'garage', offer })).answer.sdp).to.equal('v=0 answer')
  })

  it('moves the name with the right key at once, and evicts the holder', async () => {
    const { url } = await fixture.serve()
    const { client: old, key } = await fixture.master(url, 'garage')
    const evicted = next(old, 'evicted')
    const successor = await fixture.client(url)
    successor.onIntroduction = async () => ({ answer: { type: 'answer', sdp: 'v=0 successor' } })
    const started = await successor.request('startServer', { name: 'garage', key, attempt: secret() })
    expect(started).to.deep.equal({ answer: 'started', claim: 2 })
    expect(await evicted).to.deep.equal({ name: 'garage', claim: 2 })
    const slave = await fixture.client(url)
    expect((await slave.request('connect', { name: 'garage', offer })).answer.sdp).to.equal('v=0 successor')
    // The evicted one takes nothing back: not by renewing, not by stopping.
    expect(await old.request('renew', { name: 'garage', key, claim: 1 })).to.deep.equal({ answer: 'evicted', claim: 2 })
    expect(await old.request('stopServer', { name: 'garage', key })).to.deep.equal({ answer: 'stopped' })
    expect((await slave.request('connect', { name: 'garage', offer })).answer.sdp).to.equal('v=0 successor')
  })

  it('lets a master that lost its socket renew its claim', async () => {
    const { url } = await fixture.serve()
    const { client: lost, key } = await fixture.master(url, 'garage')
    lost.close()
    const back = await fixture.client(url)
    back.onIntroduction = async () => ({ answer: { type: 'answer', sdp: 'v=0 back' } })
    expect(await back.request('renew', { name: 'garage', key, claim: 1 })).to.deep.equal({
      answer: 'renewed',
      claim: 1,
    })
    const slave = await fixture.client(url)
    expect((await slave.request('connect', { name: 'garage', offer })).answer.sdp).to.equal('v=0 back')
    expect(await codeOf(back.request('renew', { name: 'garage', key, claim: 2 ** 53 - 1 }))).to.equal('invalid-message')
  })

  it('stops a name, keeps it, and starts it again', async () => {
    const { url } = await fixture.serve()
    const { client, key } = await fixture.master(url, 'garage')
    expect(await client.request('stopServer', { name: 'garage', key })).to.deep.equal({ answer: 'stopped' })
    const slave = await fixture.client(url)
    expect(await codeOf(slave.request('connect', { name: 'garage', offer }))).to.equal('master-offline')
    expect((await slave.request('startServer', { name: 'garage', attempt: secret() })).answer).to.equal('exists')
    expect((await client.request('startServer', { name: 'garage', key, attempt: secret() })).answer).to.equal('started')
  })

  it('answers a database that fails with an error, never with a free name', async () => {
    const storage = await openStorage(await fixture.folder(), 'name-server')
    const names = new Names(storage.table('names'))
    await storage.close()
    expect(await codeOf(names.claim({ name: 'garage', attempt: secret() }, () => undefined))).to.equal('storage-failed')
    expect(await codeOf(names.known('garage'))).to.equal('storage-failed')
    // One failure does not hold up the next.
    expect(await codeOf(names.confirm('garage', secret()))).to.equal('storage-failed')
  })

  it('says which process holds the data folder', async () => {
    const data = await fixture.folder()
    await fixture.serve({ data })
    let message = ''
    const code = await codeOf(
      fixture.serve({ data }).catch((error: unknown) => {
        message = String(error)
        throw error
      }),
    )
    expect(code).to.equal('storage-locked')
    expect(message).to.contain(`process ${process.pid} since `)
  })
})
