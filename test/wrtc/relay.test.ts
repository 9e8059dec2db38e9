/**
 * The main path through a real TURN server that turn.config.json names: name server, master and slave, and the pair of
 * candidates that both engines say they use.
 */
import { expect } from 'chai'
import { createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createStore, Master, Slave } from 'named-master'
import { loadRtc } from '#rtc'
import { Connection } from '#src/link/datachannel.js'
import { newSecret } from '#src/signal/secret.js'
import { NameClient } from '#src/signal/name-client.js'
import { attempt, selectedPair } from '../suites/attempt.js'
import { Coturn, type CoturnOptions } from '../suites/coturn.js'
import { ManualClock } from 'named-master/testing'
import { recordingRtc, Setting } from '../suites/setting.js'

const PASSWORD = { username: 'ada', credential: 'a password' }
const SECRET = { secret: 'that only the two servers know' }

describe('relay', function () {
  // Less than the 20 s of a slave: where it may use relays only and gathers none, it gives up after two.
  this.timeout(15_000)
  let setting: Setting
  beforeEach(() => (setting = new Setting()))
  afterEach(() => setting.close())

  async function start(options: CoturnOptions): Promise<Coturn> {
    const coturn = await Coturn.start(options)
    setting.onClose(() => coturn.stop())
    return coturn
  }

  /** A name server with that turn.config.json. */
  async function open(iceServers: readonly object[]): Promise<void> {
    const turn = join(await setting.folder(), 'turn.config.json')
    await writeFile(turn, JSON.stringify({ iceServers }))
    await setting.open({ turn })
  }

  for (const [title, credentials] of Object.entries({ 'a password': PASSWORD, 'a secret': SECRET })) {
    for (const transport of ['udp', 'tcp'] as const) {
      it(`carries a slave by turn.config.json with ${title}, over ${transport}`, async () => {
        const coturn = await start({ credentials, transports: [transport] })
        await open([coturn.entry(transport)])
        const [atMaster, atSlave] = [await recordingRtc(), await recordingRtc()]
        const store = createStore({ n: 0 })
        await setting.master(store, { rtc: atMaster.rtc }).startServer('garage')
        const slave = setting.slave<{ n: number }>({ rtc: atSlave.rtc, iceTransportPolicy: 'relay' })
        const { reached, path, pair, message } = await attempt(slave, atSlave.peers)
        expect(reached, message).to.equal(true)
        expect(path).to.equal('relay')
        expect(pair).to.include({ local: 'relay', relayProtocol: transport })
        slave.mutate((state) => ({ n: state.n + 1 }))
        await slave.settled()
        expect(store.getState()).to.deep.equal({ n: 1 })
        const [masterPeer] = atMaster.peers
        if (masterPeer === undefined) throw new Error('The master has made no connection')
        // What comes from the relay may reach the master before the candidate that names it.
        expect((await selectedPair(masterPeer)).remote).to.be.oneOf(['relay', 'prflx'])
      })
    }
  }

  it('is what a master may insist on', async () => {
    const coturn = await start({ credentials: SECRET })
    await open([coturn.entry('udp')])
    const atMaster = await recordingRtc()
    const master = setting.master(createStore({ n: 0 }), { rtc: atMaster.rtc, iceTransportPolicy: 'relay' })
    await master.startServer('garage')
    const atSlave = await recordingRtc()
    const { path, message } = await attempt(setting.slave({ rtc: atSlave.rtc }), atSlave.peers)
    expect(path, message).to.equal('relay')
    const [masterPeer] = atMaster.peers
    if (masterPeer === undefined) throw new Error('The master has made no connection')
    expect((await selectedPair(masterPeer)).local).to.equal('relay')
  })

  it('is known by a candidate that comes when the link is open', async () => {
    await setting.open({ turn: false })
    const answering = Connection.answering(await loadRtc())
    const names = new NameClient(setting.url, { log: setting.journal.log })
    setting.onClose(async () => {
      names.close()
      await answering.close()
    })
    let introduced = ''
    answering.events.on('candidate', (candidate) => {
      names.request('signal', { introduction: introduced, candidate }).catch(() => undefined)
    })
    names.onIntroduction = async ({ introduction, offer }) => {
      introduced = introduction
      return { answer: await answering.answer(offer) }
    }
    names.events.on('signal', ({ candidate }) => answering.addCandidate(candidate))
    await names.connect()
    await names.request('startServer', { name: 'garage', attempt: newSecret() })
    const { rtc, peers } = await recordingRtc()
    const opened = new Promise<void>((resolve) => void answering.events.once('open', () => resolve()))
    void setting.slave({ rtc }).connect('garage')
    await opened
    const [peer] = peers as unknown as { addIceCandidate(candidate: RTCIceCandidateInit): Promise<void> }[]
    if (peer === undefined) throw new Error('The slave has made no connection')
    const late = 'candidate:1 1 udp 41885695 203.0.113.9 50000 typ relay raddr 0.0.0.0 rport 0'
    const taken = new Promise<void>((resolve) => {
      const add = peer.addIceCandidate.bind(peer)
      peer.addIceCandidate = (candidate) => {
        if (candidate.candidate === late) resolve()
        return add(candidate)
      }
    })
    const candidate = { candidate: late, sdpMid: '0', sdpMLineIndex: 0 }
    await names.request('signal', { introduction: introduced, candidate })
    await taken
  })

  /** A master that answers, with these candidates and no signals, and hears none. `knocked`: it has an offer. */
  async function serveUnreached(candidates: string, knocked: () => void): Promise<void> {
    const answering = Connection.answering(await loadRtc())
    const names = new NameClient(setting.url, { log: setting.journal.log })
    setting.onClose(async () => {
      names.close()
      await answering.close()
    })
    names.onIntroduction = async ({ offer }) => {
      knocked()
      const { type, sdp } = await answering.answer(offer)
      return { answer: { type, sdp: sdp + candidates } }
    }
    await names.connect()
    await names.request('startServer', { name: 'garage', attempt: newSecret() })
  }

  /** Why a slave that takes only relays does not connect. */
  async function refusal(iceServers: readonly object[]): Promise<string | undefined> {
    await open(iceServers)
    await setting.serve('garage', { n: 0 })
    const { reached, code, message } = await attempt(setting.slave({ iceTransportPolicy: 'relay' }), [])
    expect({ reached, code }).to.deep.equal({ reached: false, code: 'unreachable' })
    return message
  }

  it('refuses a wrong password, and the slave says so', async () => {
    const coturn = await start({ credentials: PASSWORD })
    expect(await refusal([{ ...coturn.entry('udp'), credential: 'another' }])).to.equal(
      `The TURN server ${coturn.turn('udp')} refused the credentials: check username and credential in ` +
        'turn.config.json, or the secret and that both clocks are right',
    )
  })

  it('refuses credentials that have expired, and the slave says so', async () => {
    const coturn = await start({ credentials: SECRET })
    const username = `${Math.floor(Date.now() / 1000) - 60}:ada`
    const credential = createHmac('sha1', SECRET.secret).update(username).digest('base64')
    expect(await refusal([{ urls: coturn.turn('tcp'), username, credential }])).to.match(
      /^The TURN server turn:\S+transport=tcp refused the credentials: .* the secret and that both clocks are right$/,
    )
  })

  it('is not what is missing when the master, which does not trickle, has one too', async () => {
    const coturn = await start({ credentials: SECRET })
    await open([coturn.entry('udp')])
    const clock = new ManualClock()
    const atSlave = await recordingRtc()
    const slave = setting.slave({ rtc: atSlave.rtc, clock, iceTransportPolicy: 'relay' })
    const candidate = 'a=candidate:1 1 udp 1 127.0.0.1 9 typ relay raddr 0.0.0.0 rport 0\r\n'
    await serveUnreached(candidate, () => {
      const [peer] = atSlave.peers
      peer?.addEventListener('icegatheringstatechange', () => {
        if (peer.iceGatheringState === 'complete') void clock.advance(30_000)
      })
    })
    const { code, message } = await attempt(slave, atSlave.peers)
    expect(code).to.equal('unreachable')
    expect(message).to.match(/^Both ends have a relay, and nothing passes between them: /)
  })

  it('is not what is missing when the connection is closed before it has opened', async () => {
    await setting.open()
    const atSlave = await recordingRtc()
    await serveUnreached('', () => {
      const [peer] = atSlave.peers
      peer?.addEventListener('signalingstatechange', () => peer.signalingState === 'stable' && peer.close())
    })
    const { code, message } = await attempt(setting.slave({ rtc: atSlave.rtc }), atSlave.peers)
    expect(code).to.equal('unreachable')
    expect(message).to.equal('The connection was closed before it had opened: connect again')
  })

  it('is asked for in no other words than the standard has', () => {
    const iceTransportPolicy = 'relayed' as 'relay'
    const misuse = 'iceTransportPolicy: "relayed" is neither "all" nor "relay"'
    expect(() => new Slave('http://localhost', { iceTransportPolicy })).to.throw(TypeError, misuse)
    const store = createStore({ n: 0 })
    expect(() => new Master('http://localhost', { store, iceTransportPolicy })).to.throw(TypeError, misuse)
  })

  it('is named when it is missing', async () => {
    const sentence = 'Only relays may be used, and no TURN server is configured: add a TURN server to turn.config.json'
    expect(await refusal([])).to.equal(sentence)
  })
})
