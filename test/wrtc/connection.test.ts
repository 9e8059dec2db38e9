import { expect } from 'chai'
import { loadRtc, type RtcEngine } from '#rtc'
import { NamedMasterError } from '#src/errors.js'
import { Connection } from '#src/link/datachannel.js'
import { nativeConnections } from '#src/link/native.js'
import type { Candidate } from '#src/protocol/naming.js'
import { connect, introduce, opened } from '../suites/connect.js'

const failure = async (promise: Promise<unknown>): Promise<NamedMasterError> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof NamedMasterError) return error
    throw error
  }
  throw new Error('it did not fail')
}

describe('a connection over wrtc', () => {
  let rtc: RtcEngine
  const made: Connection[] = []
  const offering = () => keep(Connection.offering(rtc))
  const answering = () => keep(Connection.answering(rtc))
  const keep = (connection: Connection): Connection => {
    made.push(connection)
    return connection
  }

  before(async () => {
    rtc = await loadRtc()
  })
  afterEach(async () => {
    await Promise.all(made.splice(0).map((connection) => connection.close()))
    await nativeConnections.idle()
    expect(nativeConnections.open).to.equal(0)
  })

  it('opens one channel at both ends, directly', async () => {
    const { slave, master, left, right } = await connect(rtc)
    made.push(slave, master)
    expect(await left.path()).to.equal('direct')
    expect(await right.path()).to.equal('direct')
    expect(left.maxFrameBytes).to.equal(65_536)
  })

  it('takes no larger frames than the other end does', async () => {
    const limitOf = async (line: string): Promise<number> => {
      const [slave, master] = [offering(), answering()]
      introduce(slave, master)
      const channel = opened(slave)
      const answer = await master.answer(await slave.description())
      await slave.accept({ ...answer, sdp: answer.sdp.replace(/a=max-message-size:.*\r\n/, line) })
      return (await channel).maxFrameBytes
    }
    expect(await limitOf('a=max-message-size:16384\r\n')).to.equal(16_384)
    expect(await limitOf('')).to.equal(65_536)
    expect(await limitOf('a=max-message-size:0\r\n')).to.equal(65_536)
  })

  it('keeps candidates that come before the description', async () => {
    const [slave, master] = [offering(), answering()]
    const early: Candidate[] = []
    const ended = new Promise<void>((resolve) => {
      master.events.on('candidate', (candidate) => {
        early.push(candidate)
        if (candidate.candidate === '') resolve()
      })
    })
    const both = Promise.all([opened(slave), opened(master)])
    const answer = await master.answer(await slave.description())
    await ended
    for (const candidate of early) {
      expect(candidate.sdpMLineIndex).to.equal(0)
      slave.addCandidate(candidate)
    }
    // Only the slave hears of candidates: the path is found from its side alone.
    await slave.accept(answer)
    await both
  })

  it('uses an offer that nobody answered for the next try', async () => {
    const [slave, first, second] = [offering(), answering(), answering()]
    const offer = await slave.description()
    await first.answer(offer)
    await first.close()
    slave.setIceServers([{ urls: ['stun:127.0.0.1:1'] }])
    introduce(slave, second)
    const both = Promise.all([opened(slave), opened(second)])
    expect(await slave.description()).to.deep.equal(offer)
    await slave.accept(await second.answer(offer))
    await both
  })

  it('says of nonsense that it is, and lives on', async () => {
    const [slave, master] = [offering(), answering()]
    const nonsense = { type: 'offer', sdp: 'v=1 nonsense' } as const
    expect((await failure(master.answer(nonsense))).code).to.equal('invalid-message')
    expect((await failure(slave.accept({ ...nonsense, type: 'answer' }))).code).to.equal('invalid-message')
    for (const candidate of ['nonsense', 'candidate:', '']) {
      slave.addCandidate({ candidate, sdpMid: null, sdpMLineIndex: 0 })
      master.addCandidate({ candidate, sdpMid: 'x', sdpMLineIndex: 255 })
    }
    introduce(slave, master)
    const both = Promise.all([opened(slave), opened(master)])
    await slave.accept(await master.answer(await slave.description()))
    await both
  })

  it('keeps a bounded number of early candidates', async () => {
    const [slave, master] = [offering(), answering()]
    introduce(slave, master)
    const both = Promise.all([opened(slave), opened(master)])
    const other: Candidate = { candidate: 'candidate:1 1 udp 1 127.0.0.1 9 typ host', sdpMid: '0', sdpMLineIndex: 0 }
    for (let n = 0; n < 10_000; n++) slave.addCandidate(other)
    await slave.accept(await master.answer(await slave.description()))
    await both
  })

  it('does nothing after close, and says so', async () => {
    const { slave, master } = await connect(rtc)
    made.push(slave, master)
    const reasons: string[] = []
    slave.events.on('closed', (reason) => reasons.push(reason.code))
    const theirs = new Promise<NamedMasterError>((resolve) => master.events.once('closed', resolve))
    await Promise.all([slave.close(), slave.close()])
    expect((await theirs).code).to.equal('closed')
    expect(reasons).to.deep.equal(['closed'])
    expect(await slave.path()).to.equal(undefined)
    for (const late of [slave.accept({ type: 'answer', sdp: '' }), Connection.offering(rtc)]) {
      if (late instanceof Connection) await late.close()
      else expect((await failure(late)).code).to.equal('closed')
    }
    slave.addCandidate({ candidate: '', sdpMid: null, sdpMLineIndex: 0 })
    slave.setIceServers([])
  })

  it('may be closed at any moment of its life', async () => {
    const moments: ((slave: Connection, master: Connection) => unknown)[] = [
      () => undefined,
      (slave) => slave.description(),
      async (slave) => void (await slave.description()),
      async (slave, master) => master.answer(await slave.description()),
      async (slave, master) => void (await master.answer(await slave.description())),
      async (slave, master) => void slave.accept(await master.answer(await slave.description())).catch(() => undefined),
      async (slave, master) => slave.accept(await master.answer(await slave.description())),
    ]
    for (const moment of moments) {
      const [slave, master] = [offering(), answering()]
      introduce(slave, master)
      const reached = Promise.resolve(moment(slave, master)).catch((error: unknown) => error)
      await Promise.race([reached, Promise.resolve()])
      await Promise.all([slave.close(), master.close(), reached])
    }
  })
})
