/** What a stranger may try before a master knows anything of it: descriptions and channels that no slave makes. */
import { expect } from 'chai'
import { existsSync, readdirSync } from 'node:fs'
import { loadRtc, type RtcEngine } from '#rtc'
import { NamedMasterError } from '#src/errors.js'
import { Connection } from '#src/link/datachannel.js'
import { nativeConnections } from '#src/link/native.js'
import type { Candidate } from '#src/protocol/naming.js'

/** Where the system counts them. */
const openFiles = (): number => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0)

describe('a connection with a stranger', () => {
  let rtc: RtcEngine
  let made: Connection[] = []
  const keep = (connection: Connection): Connection => {
    made.push(connection)
    return connection
  }
  before(async () => {
    rtc = await loadRtc()
  })
  afterEach(async () => {
    await Promise.all(made.map((connection) => connection.close()))
    made = []
    await nativeConnections.idle()
  })

  it('answers no offer with other sections than the one of data, and opens nothing for it', async () => {
    const { sdp } = await keep(Connection.offering(rtc)).description()
    const alone = sdp.replace(/a=group:BUNDLE.*\r\n/, '')
    const [head = '', body = ''] = alone.split('m=application ')
    const transport = body.split('\r\n').filter((line) => /^a=(ice|fingerprint|setup)/.test(line))
    const video = Array.from({ length: 100 }, (_, i) =>
      [
        'm=video 9 UDP/TLS/RTP/SAVPF 96',
        'c=IN IP4 0.0.0.0',
        `a=mid:${i + 1}`,
        ...transport,
        'a=rtcp-mux',
        'a=rtpmap:96 VP8/90000',
        '',
      ].join('\r\n'),
    ).join('')
    const before = openFiles()
    const second = `m=application ${body.replace('a=mid:0', 'a=mid:1')}`
    // Each is one that the engine would answer.
    for (const hostile of [head + video, alone + video, alone + second, head]) {
      const master = keep(Connection.answering(rtc))
      const outcome = await master.answer({ type: 'offer', sdp: hostile }).then(
        () => 'answered',
        (error: unknown) => (error as NamedMasterError).code,
      )
      expect(outcome).to.equal('invalid-message')
    }
    // Ten for each connection that was answered nothing, and what the engine opens at its own time; 800 and more for
    // an answer to a hundred sections.
    expect(openFiles() - before).to.be.lessThan(400)
  })

  it('ends when the other end opens a channel of its own', async () => {
    const master = keep(Connection.answering(rtc))
    const stranger = new rtc.RTCPeerConnection()
    const early: Candidate[] = []
    let described = false
    master.events.on('candidate', (candidate) => {
      // One may come after the end that this test is about.
      if (described) void stranger.addIceCandidate(candidate).catch(() => undefined)
      else early.push(candidate)
    })
    stranger.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate !== null) master.addCandidate({ candidate: candidate.candidate, sdpMid: '0', sdpMLineIndex: 0 })
    })
    const channel = stranger.createDataChannel('named-master', { negotiated: true, id: 0 })
    const opened = new Promise((resolve) => channel.addEventListener('open', resolve))
    const closed = new Promise<NamedMasterError>((resolve) => void master.events.once('closed', resolve))
    const { sdp = '' } = await stranger.createOffer()
    await stranger.setLocalDescription({ type: 'offer', sdp })
    const answer = await master.answer({ type: 'offer', sdp })
    await stranger.setRemoteDescription(answer)
    described = true
    for (const candidate of early) void stranger.addIceCandidate(candidate).catch(() => undefined)
    await opened
    const second = stranger.createDataChannel('mine')
    expect((await closed).code).to.equal('invalid-message')
    second.close()
    channel.close()
    stranger.close()
  })
})
