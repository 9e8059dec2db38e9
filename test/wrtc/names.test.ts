/** Names: who gets one, what connect answers, and what survives which of the three going away. */
import { expect } from 'chai'
import { cp } from 'node:fs/promises'
import { io } from 'socket.io-client'
import { v7 } from 'uuid'
import { createStore, type Master } from 'named-master'
import { SOCKET_PATH } from '#src/protocol/naming.js'
import { newSecret } from '#src/signal/secret.js'
import { SocketProxy } from '../suites/socket-proxy.js'
import { failure, hears, recordingRtc, Setting, shows } from '../suites/setting.js'

const RACERS = 32

describe('names over wrtc', () => {
  let setting: Setting

  beforeEach(async () => {
    setting = await new Setting().open()
  })
  afterEach(() => setting.close())

  const master = (data?: string, url?: string): Master =>
    setting.master(createStore({ n: 0 }), data === undefined ? {} : { data }, url)

  async function proxied(): Promise<SocketProxy> {
    const proxy = await SocketProxy.open(setting.url)
    setting.onClose(() => proxy.close())
    return proxy
  }

  describe('startServer', () => {
    it('answers registered, then started, and exists to anybody else', async () => {
      const data = await setting.folder()
      const first = master(data)
      expect(await first.startServer('Garage')).to.equal('registered')
      expect(first.name).to.equal('garage')
      expect(await first.startServer('garage')).to.equal('started')
      expect(await first.stopServer()).to.equal('stopped')
      expect(await master().startServer('garage'), 'it is stopped, and still ours').to.equal('exists')
      expect(await first.startServer('garage')).to.equal('started')
      await first.close()
      expect(await master(data).startServer('garage'), 'from the key on the disk').to.equal('started')
    })

    it('rejects a wrong key and a name that is none', async () => {
      await setting.serve('garage', {})
      const thief = setting.master(createStore({}), { key: newSecret() })
      expect((await failure(thief.startServer('garage'))).code).to.equal('incorrect-key')
      expect(thief.status).to.equal('stopped')
      for (const name of ['', 'ab', '-abc', 'a b c', 'a/../b', '__proto__', 'x'.repeat(64)]) {
        expect((await failure(thief.startServer(name))).code, name).to.equal('invalid-name')
      }
    })

    it('gives a free name to exactly one of many', async () => {
      // On a disk, where between the look and the write there is time for others.
      setting.nameServer = await setting.serveNames({ data: await setting.folder() })
      const racers = Array.from({ length: RACERS }, () => master())
      const answers = await Promise.all(racers.map((racer) => racer.startServer('garage')))
      expect(answers.filter((answer) => answer === 'registered')).to.have.length(1)
      expect(answers.filter((answer) => answer === 'exists')).to.have.length(RACERS - 1)
      const winner = racers[answers.indexOf('registered')]!
      const slave = await setting.connected('garage')
      expect(winner.slaves.map(({ client }) => client)).to.deep.equal([slave.client])
    })

    it('keeps the name when the answer that brought its key is lost', async () => {
      const proxy = await proxied()
      let cuts = 0
      proxy.cut = ({ from, text }) => from === 'server' && text.includes('"registered"') && cuts++ === 0
      const data = await setting.folder()
      const unlucky = master(data, proxy.url)
      expect(await unlucky.startServer('garage')).to.equal('registered')
      expect(cuts).to.be.above(1)
      await unlucky.close()
      expect(await master(data, proxy.url).startServer('garage'), 'the key is on the disk').to.equal('started')
      expect(await master().startServer('garage')).to.equal('exists')
    })

    it('keeps the name when the answer to its confirmation is lost', async () => {
      const proxy = await proxied()
      let confirmed = false
      proxy.cut = ({ from, text }) => {
        if (from === 'client' && text.includes('"confirm"')) confirmed = true
        else if (from === 'server' && confirmed) return !(confirmed = false)
        return false
      }
      const unlucky = master(await setting.folder(), proxy.url)
      expect(await unlucky.startServer('garage')).to.equal('registered')
      expect((await setting.connected('garage')).status).to.equal('connected')
    })
  })

  describe('connect', () => {
    for (const [state, code] of [
      ['unknown', 'no-such-master'],
      ['offline', 'master-offline'],
    ] as const) {
      it(`to an ${state} name is false after one request and one answer`, async () => {
        const known = setting.master(createStore({}))
        if (state === 'offline') {
          await known.startServer('garage')
          await known.stopServer()
        }
        const proxy = await proxied()
        const { rtc, peers } = await recordingRtc()
        const slave = setting.slave({ rtc }, proxy.url)
        for (const command of ['connect', 'watch', 'watch']) {
          expect(await slave.connect('garage')).to.equal(false)
          expect(slave.lastError).to.include({ code, remote: true })
          expect(slave.status).to.equal('disconnected')
          const said = proxy.passed.splice(0).filter(({ text }) => !text.includes('"welcome"'))
          expect(said.map(({ from, text }) => `${from} ${/^4[23]/.exec(text)?.[0]}`)).to.deep.equal([
            'client 42',
            'server 43',
          ])
          expect(said[0]?.text).to.include(`"command":"${command}"`)
        }
        expect(peers, 'RTCPeerConnections for three tries').to.have.length(1)
        await known.startServer('garage')
        expect(await slave.connect('garage'), 'once it is there').to.equal(true)
        expect(known.slaves).to.have.length(1)
      })
    }

    it('costs one RTCPeerConnection however often the name is not there', async () => {
      const { rtc, peers } = await recordingRtc()
      const tries = await rawMaster(setting.url, 'garage')
      setting.onClose(() => tries.close())
      const slave = setting.slave({ rtc })
      const connecting = slave.connect('garage', { wait: true })
      // Each time the name comes up the slave tries, and is told that the master is not there after all.
      for (let i = 0; i < 5; i++) await tries.refuseOne()
      expect(peers).to.have.length(1)
      expect(await slave.disconnect()).to.equal(false)
      expect(await connecting).to.equal(false)
      expect(peers).to.have.length(1)
    })

    it('waits for a name with wait, until the master is there', async () => {
      const slave = setting.slave<{ n: number }>()
      const connecting = slave.connect('garage', { wait: true })
      await setting.serve('garage', { n: 3 })
      expect(await connecting).to.equal(true)
      expect(slave.getState()).to.deep.equal({ n: 3 })
    })

    it('ends a wait by its timeout, its signal and disconnect()', async () => {
      const slave = setting.slave()
      expect(await slave.connect('garage', { wait: true, timeout: 300 })).to.equal(false)
      expect(slave.lastError?.code).to.equal('timeout')
      const giveUp = new AbortController()
      const aborted = slave.connect('garage', { wait: true, signal: giveUp.signal })
      giveUp.abort()
      expect(await aborted).to.equal(false)
      expect(slave.lastError?.code).to.equal('aborted')
      const waiting = slave.connect('garage', { wait: true })
      expect(await slave.disconnect()).to.equal(false)
      expect(await waiting).to.equal(false)
      expect(slave.status).to.equal('disconnected')
    })

    it('says when there is no name server, and rejects what is no name', async () => {
      const { url } = setting
      await setting.nameServer.close()
      const slave = setting.slave({}, url)
      expect(await slave.connect('garage')).to.equal(false)
      expect(slave.lastError?.code).to.equal('name-server-unreachable')
      expect((await failure(slave.connect('no name'))).code).to.equal('invalid-name')
    })

    it('twice to one name joins; to another it is a TypeError until disconnected', async () => {
      const { master: garage } = await setting.serve('garage', { at: 'garage' })
      await setting.serve('attic', { at: 'attic' })
      const slave = setting.slave<{ at: string }>()
      const both = Promise.all([slave.connect('garage'), slave.connect('GARAGE')])
      const other = await slave.connect('attic').catch((error: unknown) => error)
      expect(other).to.be.instanceOf(TypeError)
      expect(await both).to.deep.equal([true, true])
      expect(await slave.connect('garage')).to.equal(true)
      expect(garage.slaves).to.have.length(1)
      expect(await slave.connect('attic').catch((error: unknown) => error)).to.be.instanceOf(TypeError)
      await slave.disconnect()
      expect(await slave.connect('attic')).to.equal(true)
      expect(slave.getState()).to.deep.equal({ at: 'attic' })
    })

    it('is refused by a master that has as many slaves as it takes', async () => {
      const full = setting.master(createStore({}), { maxSlaves: 1 })
      await full.startServer('garage')
      await setting.connected('garage')
      const late = setting.slave()
      expect(await late.connect('garage')).to.equal(false)
      expect(late.lastError?.code).to.equal('too-many')
    })
  })

  describe('coming back', () => {
    it('slaves return by themselves after stopServer and startServer', async () => {
      const { store, master: garage } = await setting.serve('garage', { n: 0 })
      const slaves = await Promise.all([1, 2, 3].map(() => setting.connected<{ n: number }>('garage')))
      const lost = slaves.map((slave) => hears(slave.events, 'status', (status) => status === 'reconnecting'))
      expect(await garage.stopServer()).to.equal('stopped')
      expect(garage.slaves).to.have.length(0)
      await Promise.all(lost)
      for (const slave of slaves) expect(slave.lastError?.code).to.equal('stopped')
      expect(await setting.slave().connect('garage')).to.equal(false)
      store.mutate(() => ({ n: 5 }))
      const back = slaves.map((slave) => hears(slave.events, 'resumed'))
      expect(await garage.startServer('garage')).to.equal('started')
      await Promise.all(back)
      for (const slave of slaves) expect(slave.getState()).to.deep.equal({ n: 5 })
    })

    it('a link survives its name server, and the master has its name again when that is back', async () => {
      const data = await setting.folder()
      const port = await restartable(data)
      const { store, master: garage } = await setting.serve('garage', { n: 0 })
      const slave = await setting.connected<{ n: number }>('garage')
      const away = hears(garage.events, 'status', (status) => status === 'reconnecting')
      await setting.nameServer.close()
      await away
      slave.mutate(({ n }) => ({ n: n + 1 }))
      await slave.settled()
      expect(store.getState()).to.deep.equal({ n: 1 })
      const renewed = hears(garage.events, 'status', (status) => status === 'started')
      setting.nameServer = await setting.serveNames({ port, data })
      await renewed
      expect(slave.status).to.equal('connected')
      expect((await setting.connected('garage')).getState()).to.deep.equal({ n: 1 })
      expect(await master().startServer('garage')).to.equal('exists')
    })

    it('a name server that lost its data gets the names back from their masters', async () => {
      const port = await restartable(await setting.folder())
      const masters = await Promise.all(
        ['garage', 'attic'].map(async (name) => (await setting.serve(name, { name })).master),
      )
      await setting.nameServer.close()
      const renewed = masters.map((one) => hears(one.events, 'status', (status) => status === 'started'))
      setting.nameServer = await setting.serveNames({ port, data: await setting.folder() })
      await Promise.all(renewed)
      for (const name of ['garage', 'attic']) {
        expect((await setting.connected(name)).getState()).to.deep.equal({ name })
        expect(await master().startServer(name)).to.equal('exists')
      }
    })

    it('who has the key takes the name over: the old master is evicted, its slaves move', async () => {
      const data = await setting.folder()
      const old = setting.master(createStore({ at: 'old' }), { data })
      await old.startServer('garage')
      const slave = await setting.connected<{ at: string }>('garage')
      const copy = await setting.folder()
      await cp(data, copy, { recursive: true })
      const [evicted, resumed] = [hears(old.events, 'evicted'), hears(slave.events, 'resumed')]
      const heir = createStore({ at: 'new' })
      const successor = setting.master(heir, { data: copy })
      expect(await successor.startServer('garage')).to.equal('started')
      expect(await evicted).to.deep.equal(['garage'])
      expect(old.status).to.equal('evicted')
      // The folder has the state too, and the slave's position in it.
      await resumed
      expect(slave.getState()).to.deep.equal({ at: 'old' })
      slave.mutate(() => ({ at: 'moved' }))
      await shows(heir, ({ at }) => at === 'moved')
      expect(old.slaves).to.have.length(0)
      // Evicted is final until the program says otherwise; then the name is taken back.
      const ousted = hears(successor.events, 'evicted')
      expect(await old.startServer('garage')).to.equal('started')
      await ousted
    })
  })

  /** The name server again, on a port that it can have once more; answers the port. */
  async function restartable(data: string): Promise<number> {
    const server = await setting.serveNames({ data })
    setting.nameServer = server
    return Number(new URL(server.url).port)
  }
})

/** Somebody who claims a name and is never there for an introduction. */
async function rawMaster(url: string, name: string): Promise<{ refuseOne(): Promise<void>; close(): void }> {
  const socket = io(url, { path: SOCKET_PATH, transports: ['websocket'] })
  const envelope = (command: string, payload: unknown, uuid = v7()) => ({
    command,
    payload,
    uuid,
    timestamp: Date.now(),
  })
  const ask = async (command: string, payload: object): Promise<Record<string, unknown>> => {
    const answer = (await socket.emitWithAck('message', envelope(command, payload))) as {
      command: string
      payload: Record<string, unknown>
    }
    expect(answer.command, JSON.stringify(answer.payload)).to.equal('result')
    return answer.payload
  }
  let refused: () => void = () => undefined
  socket.on('message', (message: { command: string; uuid: string }, acknowledge: unknown) => {
    if (message.command !== 'introduction') return
    const fault = { code: 'master-offline', message: 'The master is not serving now' }
    ;(acknowledge as (answer: unknown) => void)(envelope('error', fault, message.uuid))
    refused()
  })
  const { key } = await ask('startServer', { name, attempt: newSecret() })
  return {
    async refuseOne() {
      await ask('stopServer', { name, key })
      const one = new Promise<void>((resolve) => (refused = resolve))
      await ask('startServer', { name, key, attempt: newSecret() })
      await one
    },
    close() {
      socket.close()
    },
  }
}
