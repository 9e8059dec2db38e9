import { fork } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import { loadRtc } from '#rtc'
import { Connection } from '#src/link/datachannel.js'
import { createLink } from '#src/link/link.js'
import { nativeConnections } from '#src/link/native.js'
import { connect, opened } from '../suites/connect.js'
import { options, say, type Said } from '../suites/link.js'
import type { Signal } from '../suites/partner.js'

const PARTNER = fileURLToPath(new URL('../suites/partner.js', import.meta.url))
const openFiles = (): number => readdirSync('/proc/self/fd').length
const threads = (): number => readdirSync('/proc/self/task').length

setFlagsFromString('--expose-gc')
/** Without options: a full collection. */
const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void

/** Measured: what wrtc opens for two connections on one machine. */
const FILES_OF_A_PAIR = 24

/** wrtc frees what is native when its JavaScript objects are collected, and the finalizers have had their turns. */
async function collected(...options: [] | [{ type: 'minor' }]): Promise<void> {
  for (let turn = 0; turn < 10; turn++) {
    collect(...options)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** One child that connects to this process; resolves with how it ended. */
async function partner(how: string): Promise<string> {
  const child = fork(PARTNER, [how], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const ended = new Promise<string>((resolve) => child.on('exit', (code, signal) => resolve(signal ?? `exit ${code}`)))
  const master = Connection.answering(await loadRtc())
  const tell = (signal: Signal) => child.connected && child.send(signal, () => undefined)
  master.events.on('candidate', (candidate) => tell({ candidate }))
  child.on('message', (signal: Signal) => {
    if ('candidate' in signal) master.addCandidate(signal.candidate)
    else void master.answer(signal.description).then((description) => tell({ description }))
  })
  const served = opened(master).then(
    (channel) => {
      const link = createLink<Said, Said>(channel, options())
      link.events.on('message', () => {
        if (how === 'theirs') void link.close('stopped', 'Enough.')
      })
    },
    () => undefined,
  )
  const end = await ended
  await Promise.all([master.close(), served])
  return end
}

describe('the life of native connections', () => {
  it('500 leave no file and no thread behind, and most are freed long before a full collection', async function () {
    this.timeout(120_000)
    const rtc = await loadRtc()
    const once = async (n: number): Promise<void> => {
      const { left, right } = await connect(rtc)
      const [slave, master] = [createLink<Said, Said>(left, options()), createLink<Said, Said>(right, options())]
      const arrived = new Promise((resolve) => master.events.once('message', resolve))
      slave.send(say({ n }))
      await arrived
      await Promise.all([slave.close('stopped', 'over'), master.close('stopped', 'over')])
    }
    await once(0)
    await collected()
    const before = { files: openFiles(), threads: threads() }
    for (let n = 1; n <= 250; n++) {
      await once(n)
      if (n % 10 === 0) await collected({ type: 'minor' })
    }
    await nativeConnections.idle()
    expect(nativeConnections.open).to.equal(0)
    const kept = openFiles() - before.files
    await collected()
    // The last pair may still be on the stack, as the first was.
    expect(openFiles()).to.be.at.most(before.files + FILES_OF_A_PAIR)
    expect(threads()).to.be.at.most(before.threads + 4)
    expect(kept).to.be.at.most((250 * FILES_OF_A_PAIR) / 4)
  })

  it('50 processes connect, close and end by themselves', async function () {
    this.timeout(120_000)
    const hows = Array.from({ length: 50 }, (_, n) => ['ours', 'theirs', 'early'][n % 3] as string)
    const ends: string[] = []
    const worker = async (): Promise<void> => {
      for (let how = hows.pop(); how !== undefined; how = hows.pop()) ends.push(`${how}: ${await partner(how)}`)
    }
    await Promise.all([worker(), worker(), worker()])
    expect(ends).to.have.length(50)
    expect(ends.filter((end) => !end.endsWith(': exit 0'))).to.deep.equal([])
    await nativeConnections.idle()
  })
})
