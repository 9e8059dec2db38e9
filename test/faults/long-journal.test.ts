/** A journal that is written for long: its folder and the time to read it stay as they are, however many commits there were. */
import { expect } from 'chai'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { createStore, Master, type Microstore } from 'named-master'
import { long, report } from '../suites/faults.js'

/** How many commits there are when it is looked at. */
const MILESTONES = long(0, 1) === 1 ? [10_000, 100_000, 1_000_000] : [10_000, 20_000]
const TEXT = 'a remark '.repeat(130)
/** Between two turns of the event loop: as many as come together from busy slaves. */
const BURST = 500
/** What a folder may have: three times the log (8 Mi characters), and what LevelDB has not yet cleaned up. */
const MAX_FOLDER_MB = 48

interface State {
  n: number
  remark: string
}

describe('a journal that is written for long', function () {
  this.timeout(600_000)
  let folder = ''
  beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'named-master-journal-'))))
  afterEach(() => rm(folder, { recursive: true, force: true }))

  /** A master that nobody reaches: it needs no name server to keep what its program changes. */
  async function open(): Promise<{ master: Master; store: Microstore<State>; ms: number }> {
    const store = createStore<State>({ n: 0, remark: '' })
    store.on('remark', (state, remark: string) => void Object.assign(state, { n: state.n + 1, remark }))
    const log = (): void => undefined
    const master = new Master('http://127.0.0.1:1', { store, data: folder, log })
    const began = performance.now()
    await master.open()
    return { master, store, ms: performance.now() - began }
  }

  it(`stays as large, and is read as fast, after ${Math.max(...MILESTONES)} commits`, async () => {
    let written = 0
    for (const milestone of MILESTONES) {
      const { master, store, ms } = await open()
      expect(store.getState().n).to.equal(written)
      const began = performance.now()
      const from = written
      while (written < milestone) {
        for (let i = 0; i < BURST; i++) store.emit('remark', `${TEXT}${written++}`)
        await turn()
      }
      await master.close()
      const seconds = (performance.now() - began) / 1000
      const size = await megabytes(join(folder, 'db'))
      const again = await open()
      await again.master.close()
      report(`${milestone} commits`, {
        'MB written at least': Math.round((written * TEXT.length) / 1e6),
        'MB in the folder': Math.round(size),
        'ms to read it': Math.round(again.ms),
        'ms to read the one before': Math.round(ms),
        'commits a second': Math.round((written - from) / seconds),
      })
      expect(again.store.getState()).to.deep.equal({ n: milestone, remark: `${TEXT}${milestone - 1}` })
      expect(size).to.be.lessThan(MAX_FOLDER_MB)
    }
  })
})

async function megabytes(path: string): Promise<number> {
  const sizes = await Promise.all((await readdir(path)).map(async (file) => (await stat(join(path, file))).size))
  return sizes.reduce((sum, size) => sum + size, 0) / 1e6
}
