import { expect } from 'chai'
import { FaultyDisk, ManualClock } from 'named-master/testing'
import type { Storage } from '#storage'

const code = (error: unknown): string => (error as { code: string }).code

/** What is there under single letters. */
async function content(disk: FaultyDisk): Promise<string> {
  const storage = disk.open()
  let keys = ''
  for await (const [key] of storage.table('t').iterator()) keys += key
  await storage.close()
  return keys
}

const put = (storage: Storage, key: string, sync = false): Promise<void> => storage.table('t').put(key, key, { sync })

describe('a disk that fails on command', () => {
  it('is open once at a time', async () => {
    const disk = new FaultyDisk()
    const first = disk.open()
    expect(() => disk.open())
      .to.throw()
      .with.property('code', 'storage-locked')
    expect(() => disk.putBack(disk.copy()))
      .to.throw()
      .with.property('code', 'storage-locked')
    await put(first, 'a')
    await first.close()
    expect(await content(disk)).to.equal('a')
  })

  it('fails all writes until it is healed, and leaves nothing of them', async () => {
    const disk = new FaultyDisk()
    const storage = disk.open()
    await put(storage, 'a')
    disk.fail()
    expect(await put(storage, 'b').catch(String)).to.match(/ENOSPC/)
    expect(await storage.clear('t', {}).catch(String)).to.match(/ENOSPC/)
    expect(await storage.table('t').get('a')).to.equal('a')
    disk.heal()
    await put(storage, 'c')
    await storage.close()
    expect(await content(disk)).to.equal('ac')
    expect([disk.batches, disk.syncs, disk.failures]).to.deep.equal([2, 0, 2])
  })

  it('fails the next few, with the error it is given', async () => {
    const disk = new FaultyDisk()
    const storage = disk.open()
    disk.fail(2, new Error('EIO'))
    const outcomes = ['a', 'b', 'c'].map((key) => put(storage, key).then(() => key, String))
    expect(await Promise.all(outcomes)).to.deep.equal(['Error: EIO', 'Error: EIO', 'c'])
  })

  it('takes its time, more for what goes to the disk itself', async () => {
    const clock = new ManualClock()
    const disk = new FaultyDisk({ latency: 10, syncLatency: 90, clock })
    const storage = disk.open()
    const times: number[] = []
    for (const sync of [false, true, false]) void put(storage, 'a', sync).then(() => times.push(clock.now()))
    await clock.advance(1000)
    expect(times).to.deep.equal([10, 110, 120])
  })

  it('keeps at a power cut what was written with sync, and all before it', async () => {
    const disk = new FaultyDisk()
    const storage = disk.open()
    await put(storage, 'a')
    await put(storage, 'b', true)
    await put(storage, 'c')
    expect(disk.syncs).to.equal(1)
    disk.powerCut()
    expect(await content(disk)).to.equal('ab')
    disk.powerCut()
    expect(await content(disk)).to.equal('ab')
  })

  it('or some of the rest: whole batches, from the oldest on, as the seed says', async () => {
    const found = new Set<string>()
    for (let seed = 0; seed < 40; seed++) {
      const disk = new FaultyDisk({ seed })
      const storage = disk.open()
      for (const [one, other] of ['ab', 'cd', 'ef']) {
        await storage.batch([one, other].map((key) => ({ table: 't', key: key!, value: 1 })), { sync: false }) // prettier-ignore
      }
      disk.powerCut('some')
      found.add(await content(disk))
      // What survived is on the disk itself now.
      disk.powerCut()
      found.add(await content(disk))
    }
    expect([...found]).to.have.members(['', 'ab', 'abcd', 'abcdef'])
  })

  it('answers nothing to a process that died, and the write under way is there or not', async () => {
    const found = new Set<string>()
    for (let seed = 0; seed < 20; seed++) {
      const clock = new ManualClock()
      const disk = new FaultyDisk({ latency: 10, clock, seed })
      const storage = disk.open()
      let told = 0
      for (const key of 'abc') {
        void put(storage, key).then(
          () => told++,
          () => told++,
        )
      }
      await clock.advance(15)
      expect(told).to.equal(1)
      disk.crash()
      await clock.advance(100)
      expect([told, storage.open]).to.deep.equal([1, false])
      found.add(await content(disk))
    }
    expect([...found]).to.have.members(['a', 'ab'])
  })

  it('is copied, and becomes a copy', async () => {
    const disk = new FaultyDisk()
    const storage = disk.open()
    await put(storage, 'a')
    const backup = disk.copy()
    await put(storage, 'b')
    disk.crash()
    disk.putBack(backup)
    expect(await content(disk)).to.equal('a')
    disk.powerCut()
    expect(await content(disk)).to.equal('a')
  })

  it('tells what it has written before it says so to whoever wrote it', async () => {
    const disk = new FaultyDisk()
    const storage = disk.open()
    const happened: unknown[] = []
    disk.events.on('written', ({ writes, sync }) => happened.push(writes[0]?.key, sync))
    await put(storage, 'a', true).then(() => happened.push('told'))
    expect(happened).to.deep.equal(['a', true, 'told'])
  })

  it('refuses what comes after it was closed', async () => {
    const storage = new FaultyDisk().open()
    await storage.close()
    const refused = await storage.batch([], { sync: false }).catch(code)
    expect(refused).to.equal('storage-failed')
  })
})
