/**
 * Folders that are put back, copied and forgotten: whatever a slave was told by another life of its master, it ends with
 * this one's state, and knows which of its changes are not in it.
 */
import { expect } from 'chai'
import { cp, rm } from 'node:fs/promises'
import { createStore, type Master, type Microstore } from 'named-master'
import { openStorage } from '#storage'
import { Terms } from '#src/master/terms.js'
import type { RtcEngine } from '#rtc'
import { cut, failure, hears, recordingRtc, Setting, shows } from '../suites/setting.js'
import { Bookkeeper, count, discrepancies, startingState, type Counted } from '../suites/storekeepers.js'

const NAME = 'garage'
const DAY_MS = 24 * 3_600_000

describe('a folder that is not the latest', function () {
  this.timeout(30_000)
  let setting: Setting
  let data: string

  beforeEach(async () => {
    setting = await new Setting().open()
    data = await setting.folder()
  })
  afterEach(() => setting.close())

  /** @param changes of its program's own, before anybody comes */
  async function host(folder = data, changes = 0): Promise<{ master: Master; store: Microstore<Counted> }> {
    const store = createStore(startingState())
    store.on('count', count)
    const master = setting.master(store, { data: folder })
    await master.open()
    // Other changes at the versions that others may have known as theirs.
    for (let i = 0; i < changes; i++) store.emit('count', `${folder}-${i}`)
    await master.startServer(NAME)
    return { master, store }
  }

  async function book(name: string, rtc?: RtcEngine): Promise<Bookkeeper> {
    const keeper = new Bookkeeper(name, setting.slave<Counted>(rtc === undefined ? {} : { rtc }))
    expect(await keeper.slave.connect(NAME)).to.equal(true)
    return keeper
  }

  /** A copy of the folder as it is when its master has stopped. */
  async function copyOf(folder = data): Promise<string> {
    const copy = await setting.folder()
    await cp(folder, copy, { recursive: true })
    return copy
  }

  async function putBack(backup: string): Promise<void> {
    await rm(data, { recursive: true })
    await cp(backup, data, { recursive: true })
  }

  /** All slaves show what the store has. */
  const rest = (store: Microstore<Counted>, books: readonly Bookkeeper[]): Promise<unknown> => {
    const text = JSON.stringify(store.getState())
    return Promise.all(books.map(({ slave }) => shows(slave, (state) => JSON.stringify(state) === text)))
  }

  /** Two slaves that a backup knows, and one that it does not; all of them went on after it was taken. */
  async function backedUp(): Promise<{ a: Bookkeeper; b: Bookkeeper; late: Bookkeeper; gone: string[][] }> {
    let { master } = await host()
    const [a, b] = [await book('a'), await book('b')]
    await a.makeAndSettle(4)
    await b.makeAndSettle(3)
    await master.close()
    const backup = await copyOf()
    const back = [a, b].map(({ slave }) => hears(slave.events, 'resumed'))
    ;({ master } = await host())
    await Promise.all(back)
    const late = await book('late')
    const gone = [await a.makeAndSettle(5), await b.makeAndSettle(2), await late.makeAndSettle(3)]
    await master.close()
    await putBack(backup)
    return { a, b, late, gone }
  }

  describe('a backup that was put back', () => {
    it('takes back what came after it: each slave is told which of its changes, and all go on together', async () => {
      const { a, b, late, gone } = await backedUp()
      // Made while there is no master: on top of what will be gone.
      const waiting = [...a.make(2), ...late.make(2)]
      const resets = [a, b, late].map(({ slave }) => hears(slave.events, 'reset'))
      const { store } = await host(data, 20)
      await Promise.all(resets)
      await Promise.all([a, b, late].map(({ slave }) => slave.settled()))
      expect(a.lost).to.deep.equal(gone[0])
      expect(b.lost).to.deep.equal(gone[1])
      for (const token of waiting) expect(store.getState().tokens[token], token).to.equal(1)
      for (const token of gone[2] ?? []) late.acknowledged.delete(token)
      for (const keeper of [a, b, late]) await keeper.makeAndSettle(3)
      await rest(store, [a, b, late])
      expect(discrepancies(store.getState(), [a, b, late])).to.deep.equal([])
      for (const token of gone.flat()) expect(store.getState().tokens).not.to.have.property(token)
      expect([...a.refused, ...b.refused, ...late.refused]).to.deep.equal([])
    })

    it('would have slaves diverge, if a version alone said what the state is', async () => {
      const { hold } = Terms.prototype
      Terms.prototype.hold = () => true
      try {
        const { a, b, late } = await backedUp()
        const back = [a, b, late].map(({ slave }) => hears(slave.events, 'resumed'))
        const { store } = await host(data, 20)
        await Promise.all(back)
        await Promise.allSettled([a, b, late].map(({ slave }) => slave.settled()))
        expect(discrepancies(store.getState(), [a, b, late]).join()).to.include('show something else')
      } finally {
        Terms.prototype.hold = hold
      }
    })
  })

  it('a folder that was copied goes on at two places: slaves that move between them never mix the two', async () => {
    const first = await host()
    const [a, b] = [await book('a'), await book('b')]
    await a.makeAndSettle(3)
    await b.makeAndSettle(3)
    await first.master.close()
    const copies = [data, await copyOf()] as const
    const open: { master: Master; store: Microstore<Counted> }[] = []
    const move = async (to: 0 | 1): Promise<Microstore<Counted>> => {
      const moved = [a, b].map(({ slave }) => hears(slave.events, slave.status === 'connected' ? 'reset' : 'resumed'))
      const there = open[to]
      if (there === undefined) open[to] = await host(copies[to])
      else await there.master.startServer(NAME)
      await Promise.all(moved)
      return (open[to] as (typeof open)[number]).store
    }
    let place = await move(0)
    await a.makeAndSettle(2)
    let lastHere = [...(await b.makeAndSettle(4))]
    for (const to of [1, 0, 1, 0, 1] as const) {
      const before = b.lost.length
      const there = await move(to)
      expect(b.lost.slice(before), 'what only the other place has').to.include.members(lastHere)
      await rest(there, [a, b])
      // A change of each, of different kinds and numbers at the two places.
      await a.makeAndSettle(1 + to)
      lastHere = await b.makeAndSettle(3)
      await rest(there, [a, b])
      const twice = Object.entries(there.getState().tokens).filter(([, times]) => times > 1)
      expect(twice).to.deep.equal([])
      for (const token of lastHere) expect(there.getState().tokens[token]).to.equal(1)
      for (const token of lastHere) expect(place.getState().tokens).not.to.have.property(token)
      place = there
    }
  })

  it('a laptop that returns when it was forgotten is told what may have been taken; what it never sent is sent', async () => {
    const { master } = await host()
    const { rtc, peers } = await recordingRtc()
    const [laptop, other] = [await book('laptop', rtc), await book('other')]
    await laptop.makeAndSettle(2)
    await other.makeAndSettle(1)
    const left = hears(laptop.slave.events, 'status', (status) => status === 'reconnecting')
    const sent = laptop.make(3)
    // They leave at the end of this turn; then the lid falls, and no answer comes.
    await Promise.resolve()
    await cut(peers.at(-1))
    await master.close()
    await left
    const unsent = laptop.make(2)
    await forget(data, (client) => client === 1)
    const back = hears(laptop.slave.events, 'status', (status) => status === 'connected')
    const { store } = await host()
    await back
    expect((await failure(laptop.slave.settled())).code).to.equal('unknown-outcome')
    expect([...laptop.refused]).to.deep.equal(sent.map((token) => [token, 'unknown-outcome']))
    for (const token of unsent) expect(store.getState().tokens[token], token).to.equal(1)
    await laptop.makeAndSettle(2)
    await rest(store, [laptop, other])
    expect(discrepancies(store.getState(), [laptop, other])).to.deep.equal([])
  })
})

/** As if some clients had not been seen for more than the 30 days that they are remembered. */
async function forget(data: string, who: (client: number) => boolean): Promise<void> {
  const storage = await openStorage(data, 'master')
  const clients = storage.table('clients')
  for await (const [key, value] of clients.iterator()) {
    const record = value as { client: number; seen: number }
    if (who(record.client)) await clients.put(key, { ...record, seen: record.seen - 31 * DAY_MS }, { sync: false })
  }
  await storage.close()
}
