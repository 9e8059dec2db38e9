/**
 * `named-master doctor` as people run it: a process of its own, beside a real name server, a real master and real TURN
 * servers, each of them once as it should be and once as it should not.
 */
import { expect } from 'chai'
import { createHmac } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { Server as SocketServer } from 'socket.io'
import { runDoctor } from '#src/cli/doctor.js'
import { Report } from '#src/cli/report.js'
import type { NamedMasterError } from '#src/errors.js'
import { Connection } from '#src/link/datachannel.js'
import { createLink } from '#src/link/link.js'
import { nativeConnections } from '#src/link/native.js'
import { envelope } from '#src/protocol/envelope.js'
import { SOCKET_PATH } from '#src/protocol/naming.js'
import { parseUp, type Down, type Up } from '#src/protocol/replication.js'
import { NameClient } from '#src/signal/name-client.js'
import { loadRtc } from '#rtc'
import { runCommand, type Ended } from '../suites/command.js'
import { Coturn, type CoturnOptions } from '../suites/coturn.js'
import { Setting } from '../suites/setting.js'

const CREDENTIALS = { username: 'ada', credential: 'a password' }
const SECRET = 'that only the two servers know'

interface Line {
  readonly verdict: string
  readonly sentence: string
}

describe('named-master doctor', function () {
  this.timeout(60_000)
  let setting: Setting
  let folder: string

  beforeEach(async () => {
    setting = new Setting()
    folder = await setting.folder()
  })
  afterEach(() => setting.close())

  /** The doctor, in a folder with nothing but what the test has put there. */
  async function doctor(...args: readonly string[]): Promise<Ended & { readonly lines: readonly Line[] }> {
    const ended = await runCommand(['doctor', '--timeout', '5', ...args], folder)
    const lines = [...ended.output.matchAll(/^(ok|warning|FAIL) +(.*)$/gm)].map(([, verdict = '', sentence = '']) => ({
      verdict,
      sentence,
    }))
    return { ...ended, lines }
  }

  const asks = (...args: readonly string[]) => doctor('--name-server', setting.url, ...args)

  /** What was said of the server, path or name that is named so. */
  function said(lines: readonly Line[], about: string): Line {
    const line = lines.find(({ sentence }) => sentence.includes(about))
    if (line === undefined) throw new Error(`Nothing was said of ${about}: ${JSON.stringify(lines, undefined, 1)}`)
    return line
  }

  async function turn(options: Partial<CoturnOptions> = {}): Promise<Coturn> {
    const coturn = await Coturn.start({ credentials: CREDENTIALS, ...options })
    setting.onClose(() => coturn.stop())
    return coturn
  }

  /** Its address; it is gone after the test, with all its connections. */
  async function listen(server: Server): Promise<string> {
    const sockets: Socket[] = []
    server.on('connection', (socket) => sockets.push(socket)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    setting.onClose(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  const serveHttp = (answer: RequestListener) => listen(createHttpServer(answer))

  /** Takes packets and says nothing. */
  async function silentUdp(): Promise<string> {
    const socket = createSocket('udp4').bind(0, '127.0.0.1')
    await once(socket, 'listening')
    setting.onClose(() => socket.close())
    return `127.0.0.1:${socket.address().port}`
  }

  /** Who has registered the name, and answers as the test says. */
  async function ownerOf(name: string): Promise<NameClient> {
    const names = new NameClient(setting.url, { log: () => undefined })
    setting.onClose(() => names.close())
    await names.connect()
    await names.request('startServer', { name, attempt: 'a'.repeat(43) })
    return names
  }

  const writeTurnConfig = (content: string, file = 'turn.config.json') => writeFile(join(folder, file), content)

  describe('where all is well', () => {
    it('says so, and leaves the master undisturbed', async () => {
      const coturn = await turn()
      await setting.open({ turn: { iceServers: [{ url: coturn.stun }, coturn.entry('udp'), coturn.entry('tcp')] } })
      const { master } = await setting.serve('garage', { n: 0 })
      const joined: unknown[] = []
      master.events.on('slave-joined', (slave) => joined.push(slave))
      const { code, lines, output, errors } = await asks('Garage')
      expect([code, errors]).to.deep.equal([0, ''])
      const verdicts = lines.map(({ verdict, sentence }) => `${verdict}: ${sentence.replaceAll(/[\d.]+ ms/g, 'N ms')}`)
      const loopback = 'relays, but from 127.0.0.1, which only this machine reaches: '
      expect(verdicts.map((line) => line.split(loopback)[0])).to.deep.equal([
        `ok: The name server at ${setting.url}/ answers over HTTP and Socket.IO, in N ms`,
        'ok: It speaks versions 1 to 1, this end 1 to 1',
        'ok: It hands out URLs of STUN (1) and TURN (2) servers',
        `ok: ${coturn.stun} answers in N ms, and sees this machine as 127.0.0.1`,
        `warning: ${coturn.turn('udp')} `,
        `warning: ${coturn.turn('tcp')} `,
        'ok: "garage" is registered, and its master is there',
        'ok: The master of "garage" is reached directly: open after N ms, a round trip of N ms',
        'ok: The master of "garage" is reached through a relay: open after N ms, a round trip of N ms',
      ])
      expect(output).to.match(/\n\n9 checks, 0 failed, 2 with a warning\n$/)
      expect(joined).to.deep.equal([])
      expect(master.slaves).to.deep.equal([])
    })

    it('tells a machine in one JSON object', async () => {
      await setting.open()
      await setting.serve('garage', { n: 0 })
      const { code, output } = await asks('garage', '--json')
      expect(code).to.equal(0)
      const { ok, checks } = JSON.parse(output) as { ok: boolean; checks: Record<string, string>[] }
      expect(ok).to.equal(true)
      expect(checks.map(({ check, subject, verdict }) => [check, subject, verdict])).to.deep.equal([
        ['name-server', `${setting.url}/`, 'ok'],
        ['versions', `${setting.url}/`, 'ok'],
        ['ice-servers', `${setting.url}/`, 'warning'],
        ['name', 'garage', 'ok'],
        ['path', 'garage', 'ok'],
      ])
      for (const check of checks) expect(Object.keys(check)).to.deep.equal(['check', 'subject', 'verdict', 'sentence'])
    })

    it('leaves nothing open', async () => {
      const coturn = await turn()
      await setting.open({ turn: { iceServers: [{ url: coturn.stun }, coturn.entry('udp')] } })
      const { master } = await setting.serve('garage', { n: 0 })
      const report = new Report({ write: () => undefined }, { json: false, noColours: true })
      await runDoctor({ name: 'garage', nameServer: setting.url, turn: false, timeout: 5000 }, report)
      expect(report.failed).to.equal(false)
      await master.close()
      expect(nativeConnections.open).to.equal(0)
    })
  })

  describe('of the name server', () => {
    it('says that it is down', async () => {
      await setting.open()
      const { url } = setting
      await setting.nameServer.close()
      const { code, lines } = await doctor('garage', '--name-server', url)
      expect(code).to.equal(1)
      expect(lines).to.deep.equal([
        {
          verdict: 'FAIL',
          sentence: `The name server at ${url}/ cannot be reached, ECONNREFUSED: nothing listens there; start it, or check the port`,
        },
      ])
    })

    it('says that something else answers', async () => {
      const address = await serveHttp((_request, response) => response.writeHead(404).end('Nothing here'))
      const { code, lines } = await doctor('--name-server', `http://${address}`)
      expect(code).to.equal(1)
      expect(lines).to.have.length(1)
      expect(lines[0]?.sentence).to.equal(
        `Something answers at http://${address}/, but it is no name server (its /healthz answers HTTP 404): check the address and the port`,
      )
    })

    it('reads no more of a body than it needs, where that has no end', async () => {
      let sent = 0
      let closed = (): void => undefined
      const over = new Promise<void>((resolve) => (closed = resolve))
      const address = await serveHttp((_request, response) => {
        const chunk = 'x'.repeat(65_536)
        const more = (): void => {
          while (!response.destroyed && response.write(chunk)) sent += chunk.length
        }
        response.on('drain', more).on('close', closed)
        more()
      })
      const { code, lines } = await doctor('--name-server', `http://${address}`)
      await over
      expect([code, lines[0]?.sentence]).to.deep.equal([
        1,
        `Something answers at http://${address}/, but it is no name server (its /healthz answers HTTP 200): check the address and the port`,
      ])
      expect(sent).to.be.lessThan(64 * 1024 * 1024)
    })

    it('says that what answers speaks no HTTP, and that nothing answers', async () => {
      const talker = await listen(createTcpServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')))
      const mute = await listen(createTcpServer((socket) => void socket.resume().on('error', () => undefined)))
      const [spoken, silent] = await Promise.all([
        doctor('--name-server', `http://${talker}`),
        doctor('--name-server', `http://${mute}`, '--timeout', '1'),
      ])
      expect([spoken.code, silent.code]).to.deep.equal([1, 1])
      expect(said(spoken.lines, talker).sentence).to.contain('what listens there does not speak HTTP')
      expect(said(silent.lines, mute).sentence).to.contain('cannot be reached, it does not answer: check the address')
    })

    it('says that a proxy passes HTTP on and Socket.IO not', async () => {
      const address = await serveHttp(({ url }, response) => {
        if (url === '/healthz') response.end('{"status":"ok","sockets":0}')
        else response.writeHead(404).end()
      })
      const { code, lines } = await doctor('--name-server', `http://${address}`)
      expect(code).to.equal(1)
      expect(said(lines, address).sentence).to.contain('answers over HTTP, but not over Socket.IO: have the proxy')
    })

    it('says that the versions do not agree, and asks no further', async () => {
      const http = createHttpServer((_request, response) => void response.end('{"status":"ok","sockets":0}'))
      const io = new SocketServer(http, { path: SOCKET_PATH })
      io.on('connection', (socket) => {
        socket.emit('message', envelope('welcome', { versions: { oldest: 7, newest: 9 }, iceServers: [] }))
      })
      setting.onClose(() => io.close())
      const { code, lines } = await doctor('garage', '--name-server', `http://${await listen(http)}`)
      expect(code).to.equal(1)
      expect(lines.map(({ verdict }) => verdict)).to.deep.equal(['ok', 'FAIL'])
      expect(lines[1]?.sentence).to.equal(
        'The name server speaks versions 7 to 9, this end 1 to 1: update the older of the two',
      )
    })
  })

  describe('of a name', () => {
    it('says that nobody has registered it', async () => {
      await setting.open()
      const { code, lines } = await asks('garage')
      expect(code).to.equal(1)
      expect(lines.at(-1)).to.deep.equal({
        verdict: 'FAIL',
        sentence: `Nobody has registered "garage" here: check the name and the name server's address`,
      })
    })

    it('says that its master is not there', async () => {
      await setting.open()
      const { master } = await setting.serve('garage', { n: 0 })
      await master.stopServer()
      const { code, lines } = await asks('garage')
      expect(code).to.equal(1)
      expect(said(lines, 'The master of "garage" is not there now: start it').verdict).to.equal('FAIL')
    })

    it('says nothing to a master but a ping and a goodbye', async () => {
      await setting.open()
      const rtc = await loadRtc()
      const names = await ownerOf('garage')
      const heard: string[] = []
      const ended = new Promise<NamedMasterError>((resolve) => {
        names.onIntroduction = async ({ introduction, offer }) => {
          const connection = Connection.answering(rtc)
          setting.onClose(() => connection.close())
          connection.events.on('candidate', (candidate) => void names.request('signal', { introduction, candidate }))
          names.events.on('signal', ({ candidate }) => connection.addCandidate(candidate))
          connection.events.on('open', (channel) => {
            const link = createLink<Up, Down>(channel, { parse: parseUp, maxMessageBytes: 65_536 })
            link.events.on('message', ({ command }) => heard.push(command))
            link.events.on('close', resolve)
          })
          return { answer: await connection.answer(offer) }
        }
      })
      expect((await asks('garage')).code).to.equal(0)
      expect(await ended).to.include({ code: 'closed', message: 'named-master doctor has seen enough' })
      expect(heard).to.deep.equal([])
    })

    it('says why no path leads there', async () => {
      await setting.open()
      const names = await ownerOf('garage')
      names.onIntroduction = async () => ({ answer: { type: 'answer', sdp: 'v=0' } })
      const { code, lines } = await asks('garage')
      expect(code).to.equal(1)
      expect(lines.at(-1)?.sentence).to.match(/^The master of "garage" is not reached\. .* session description/)
    })

    it('says that no relay leads there, though a direct path does', async () => {
      const coturn = await turn({ further: ['--denied-peer-ip=0.0.0.0-255.255.255.255'] })
      await setting.open({ turn: { iceServers: [coturn.entry('udp')] } })
      await setting.serve('garage', { n: 0 })
      const { code, lines } = await asks('garage', '--timeout', '2')
      expect(code).to.equal(1)
      expect(said(lines, 'is reached directly').verdict).to.equal('ok')
      expect(said(lines, 'is not reached through a relay. ')).to.include({ verdict: 'FAIL' })
    })
  })

  describe('of STUN and TURN servers', () => {
    it('says which do not answer, and ends all the same', async () => {
      const silent = await silentUdp()
      const urls = [`turn:${silent}`, 'turn:127.0.0.1:1?transport=tcp']
      await setting.open({ turn: { iceServers: [{ url: `stun:${silent}` }, { urls, ...CREDENTIALS }] } })
      const { code, lines } = await asks('--timeout', '1')
      expect(code).to.equal(1)
      const port = silent.split(':')[1] ?? ''
      const advice = `check that it runs, and that firewalls let UDP to port ${port} through`
      expect(said(lines, `stun:${silent}`)).to.deep.equal({
        verdict: 'FAIL',
        sentence: `stun:${silent} does not answer: ${advice}`,
      })
      expect(said(lines, `turn:${silent}`).sentence).to.equal(`turn:${silent} does not answer: ${advice}`)
      expect(said(lines, 'turn:127.0.0.1:1').sentence).to.match(
        /cannot be reached, or does not speak TURN: .* TCP to port 1 through$/,
      )
    })

    it('says that a password is wrong, as README.md shows it', async () => {
      const coturn = await turn()
      const wrong = { url: coturn.turn('udp'), username: 'ada', credential: 'wrong' }
      await setting.open({ turn: { iceServers: [{ url: coturn.stun }, wrong] } })
      await setting.serve('garage', { n: 0 })
      const { code, output } = await asks('garage')
      expect(code).to.equal(1)
      const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
      const shown = /```\n(ok {7}The name server[^]*?)```/.exec(readme)?.[1] ?? ''
      const withoutTimes = (text: string) => text.replaceAll(/[\d.]+ ms/g, 'N ms')
      const elsewhere = output
        .replaceAll(setting.url, 'http://localhost:8002')
        .replaceAll(coturn.host, 'turn.example.org:3478')
        .replaceAll('127.0.0.1', '203.0.113.7')
      expect(withoutTimes(elsewhere)).to.equal(withoutTimes(shown))
    })

    it('says that a secret is wrong', async () => {
      const coturn = await turn({ credentials: { secret: SECRET } })
      await setting.open({ turn: { iceServers: [{ url: coturn.turn('tcp'), secret: 'another' }] } })
      const { code, lines } = await asks()
      expect(code).to.equal(1)
      expect(said(lines, coturn.turn('tcp')).sentence).to.match(/401 Unauthorized\): compare the secret .* clocks/)
    })

    it('says when credentials ended', async () => {
      const coturn = await turn({ credentials: { secret: SECRET } })
      const username = '1700000000:ada'
      const credential = createHmac('sha1', SECRET).update(username).digest('base64')
      await setting.open({ turn: { iceServers: [{ url: coturn.turn('udp'), username, credential }] } })
      const { code, lines } = await asks()
      expect(code).to.equal(1)
      expect(said(lines, coturn.turn('udp')).sentence).to.contain('they ended at 2023-11-14T22:13:20.000Z: give')
    })

    it('tells a server that is there over TCP only', async () => {
      const coturn = await turn({ transports: ['tcp'] })
      await setting.open({ turn: { iceServers: [coturn.entry('udp'), coturn.entry('tcp')] } })
      const { code, lines } = await asks('--timeout', '2')
      expect(code).to.equal(1)
      expect(said(lines, coturn.turn('udp')).verdict).to.equal('FAIL')
      expect(said(lines, coturn.turn('tcp')).sentence).to.contain('relays')
    })

    it('checks those of turn.config.json too, once where they are the same', async () => {
      const coturn = await turn()
      await setting.open({ turn: { iceServers: [coturn.entry('udp')] } })
      await writeTurnConfig(JSON.stringify({ iceServers: [coturn.entry('udp'), { url: coturn.stun }] }))
      const { code, lines } = await asks()
      expect(code).to.equal(0)
      expect(lines[0]?.sentence).to.equal('turn.config.json is as it should be, and has 2 entries')
      expect(lines.filter(({ sentence }) => sentence.startsWith('turn:'))).to.have.length(1)
      expect(said(lines, `${coturn.stun} (turn.config.json) answers`).verdict).to.equal('ok')
    })

    it('names the place of what is wrong in turn.config.json', async () => {
      await setting.open()
      await writeTurnConfig('{"iceServers": [{"url": "turn:a.example"}]}')
      await writeTurnConfig('{"iceServers": ', 'broken.json')
      const cases: [readonly string[], RegExp][] = [
        [[], /^turn\.config\.json: \/iceServers\/0: is a TURN server and needs a username$/],
        [['--turn', 'broken.json'], /^broken\.json: no JSON: /],
        [['--turn', 'none.json'], /^none\.json: there is no such file$/],
      ]
      for (const [args, expected] of cases) {
        const { code, lines } = await asks(...args)
        expect(code).to.equal(1)
        expect(lines[0]?.verdict).to.equal('FAIL')
        expect(lines[0]?.sentence).to.match(expected)
        expect(lines.length, 'the name server is checked all the same').to.be.greaterThan(1)
      }
      expect((await asks('--turn', 'false')).lines[0]?.sentence).to.match(/^The name server/)
    })
  })

  it('ends with 2 where it is not clear what is asked', async () => {
    const cases: [readonly string[], RegExp][] = [
      [['a!'], /^named-master: A name is 3 to 63 of/],
      [['--nameserver', 'x'], /^error: unknown option '--nameserver'/],
      [['garage', 'house'], /^error: too many arguments/],
      [['--name-server', 'nowhere'], /^named-master: --name-server: "nowhere" is no URL/],
      [['--timeout', 'soon'], /^named-master: --timeout: "soon" is no whole number/],
    ]
    const ended = await Promise.all(cases.map(([args]) => runCommand(['doctor', ...args], folder)))
    ended.forEach(({ code, output, errors }, i) => {
      expect(errors).to.match(cases[i]?.[1] ?? /^$/)
      expect([code, output]).to.deep.equal([2, ''])
    })
    const help = await runCommand(['doctor', '--help'], folder)
    expect([help.code, help.errors]).to.deep.equal([0, ''])
    expect(help.output).to.contain('named-master doctor garage --name-server')
  })
})
