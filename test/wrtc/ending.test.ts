import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { loadRtc } from '#rtc'
import { Connection } from '#src/link/datachannel.js'
import { createLink } from '#src/link/link.js'
import { nativeConnections } from '#src/link/native.js'
import { opened } from '../suites/connect.js'
import { messages, options, type Said } from '../suites/link.js'
import type { About } from '../suites/sending-end.js'

const SENDING_END = fileURLToPath(new URL('../suites/sending-end.js', import.meta.url))
/** One in fifty ended the process that was sending, when channels were closed under it. */
const ENDINGS = 400
const AT_ONCE = 4

describe('an end that closes its link while the other one sends', () => {
  it(`${ENDINGS} times ends no process but its own link`, async function () {
    this.timeout(120_000)
    const rtc = await loadRtc()
    const child = fork(SENDING_END)
    let died: string | undefined
    const ended = new Promise<void>((resolve) => {
      child.on('exit', (code, signal) => {
        died = signal ?? `exit ${code}`
        resolve()
      })
    })
    const slaves = new Map<number, Connection>()
    const tell = (about: About) => child.connected && child.send(about, () => undefined)
    child.on('message', ({ connection, candidate, description }: About) => {
      const slave = slaves.get(connection)
      if (candidate !== undefined) slave?.addCandidate(candidate)
      if (description !== undefined) void slave?.accept(description)
    })
    const once = async (connection: number): Promise<void> => {
      const slave = Connection.offering(rtc)
      slaves.set(connection, slave)
      slave.events.on('candidate', (candidate) => tell({ connection, candidate }))
      const channel = opened(slave)
      tell({ connection, description: await slave.description() })
      const link = createLink<Said, Said>(await channel, options())
      // At another moment of the sending each time.
      await messages(link, 1 + ((connection * 37) % 200))
      await link.close('closed', 'The program called disconnect().')
      slaves.delete(connection)
    }
    let next = 0
    const worker = async (): Promise<void> => {
      while (next < ENDINGS && died === undefined) await Promise.race([once(next++), ended])
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
    expect(died, `after ${next} endings`).to.equal(undefined)
    await nativeConnections.idle()
    child.kill()
    await ended
  })
})
