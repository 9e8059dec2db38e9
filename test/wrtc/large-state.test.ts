/** 50 MB of state over wrtc, to slaves in processes of their own, while others go on. */
import { expect } from 'chai'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Master, Microstore, Slave } from 'named-master'
import { digestOf, largeState, type LargeState } from '../suites/large-state.js'
import type { Report } from '../suites/large-state-slave.js'
import { hears, Setting } from '../suites/setting.js'

const BYTES = 50_000_000
/** Less than the log keeps in any case, 8 MB. */
const LESS_BYTES = 5_000_000
const OTHERS = 9
const MINUTE_MS = 60_000

/** A slave that has said all it has said. */
class Child {
  readonly #process: ChildProcess
  readonly #said: Report[] = []
  #wake = (): void => undefined

  constructor(url: string) {
    this.#process = fork(fileURLToPath(new URL('../suites/large-state-slave.js', import.meta.url)), [url, 'library'])
    this.#process.on('message', (report: Report) => {
      this.#said.push(report)
      this.#wake()
    })
  }

  /** The first report that is one of these and was not asked for before. */
  async hears<R extends Report>(is: (report: Report) => report is R): Promise<R> {
    for (;;) {
      const at = this.#said.findIndex(is)
      if (at >= 0) return this.#said.splice(at, 1)[0] as R
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  connected(): Promise<Report> {
    return this.hears((report): report is { status: string } => 'status' in report && report.status === 'connected')
  }

  /** What it shows once it has counted so far. */
  at(n: number): Promise<{ n: number; digest: string }> {
    this.#process.send({ at: n })
    return this.hears((report): report is { n: number; digest: string } => 'digest' in report)
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process.kill(signal)
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exit = once(this.#process, 'exit')
    this.signal('SIGCONT')
    this.#process.send({ end: true })
    expect(await exit).to.deep.equal([0, null])
  }
}

describe('a large state over wrtc', function () {
  this.timeout(240_000)
  let setting: Setting
  let store: Microstore<LargeState>
  let master: Master

  beforeEach(async () => {
    setting = await new Setting().open()
  })
  afterEach(() => setting.close())

  async function serve(bytes: number): Promise<void> {
    const served = await setting.serve<LargeState>('library', largeState(bytes))
    store = served.store
    master = served.master
    store.on('count', (state) => void state.n++)
  }

  const connectOthers = (): Promise<Slave<LargeState>[]> =>
    Promise.all(Array.from({ length: OTHERS }, () => setting.connected<LargeState>('library')))

  const child = (): Child => {
    const made = new Child(setting.url)
    setting.onClose(() => made.end())
    return made
  }

  it('of 50 MB reaches a slave whole, and the next ones, while nine others keep committing', async () => {
    await serve(BYTES)
    const first = child()
    await first.connected()
    const second = child()
    const third = child()
    const others = await connectOthers()
    let sending = true
    let counted = 0
    const refused: unknown[] = []
    const counting = others.map(async (slave) => {
      slave.events.on('refused', (refusal) => refused.push(refusal))
      while (sending) {
        slave.emit('count')
        counted++
        await slave.settled()
      }
    })
    await Promise.all([second.connected(), third.connected()])
    const before = counted
    // They went on in the middle of it, and still do.
    await Promise.all(others.map((slave) => slave.settled()))
    expect(before).to.be.greaterThan(OTHERS)
    const fourth = child()
    await fourth.connected()
    sending = false
    await Promise.all(counting)
    expect(refused).to.deep.equal([])
    expect(store.getState().n).to.equal(counted)
    const digest = digestOf(store.getState())
    for (const slave of [first, second, third, fourth])
      expect(await slave.at(counted)).to.deep.equal({ n: counted, digest })
    for (const slave of [first, second, third, fourth]) await slave.end()
  })

  it('is there again for a slave that did not read for a minute, whatever was written meanwhile', async () => {
    await serve(LESS_BYTES)
    const slow = child()
    await slow.connected()
    const others = await connectOthers()
    const left = hears(master.events, 'slave-left')
    slow.signal('SIGSTOP')
    const until = Date.now() + MINUTE_MS
    let changes = 0
    // More than the log keeps, so that it has to be sent the state: ten of two hundred notes with each change.
    while (Date.now() < until) {
      others[changes % OTHERS]?.mutate((state) => {
        state.n++
        for (let i = 0; i < 10; i++) {
          const note = state.notes[(changes * 10 + i) % 200]
          if (note !== undefined) note.title = `changed ${changes} ${'x'.repeat(10_000)}`
        }
      })
      await others[changes % OTHERS]?.settled()
      changes++
    }
    await left
    slow.signal('SIGCONT')
    await slow.hears((report): report is { told: 'reset' } => 'told' in report && report.told === 'reset')
    const { n } = store.getState()
    expect(await slow.at(n)).to.deep.equal({ n, digest: digestOf(store.getState()) })
    for (const slave of others) expect(slave.status).to.equal('connected')
    await slow.end()
  })
})
