/**
 * Two hosts behind routers, a name server and coturn between them: which path is found with which servers, and what the
 * slave is told when there is none. All tries are made at once, since a failure takes its 20 seconds.
 */
import { expect } from 'chai'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser } from 'playwright-core'
import type { Attempt } from '../suites/attempt.js'
import { Coturn } from '../suites/coturn.js'
import { HostProcess } from '../suites/host-process.js'
import { Network, SERVER_ADDRESS, type Home, type Router } from '../suites/network.js'
import { attemptInPage } from '../suites/page-slave.js'
import { CHROMIUM, launchChromium } from '../suites/pages.js'

/** The TURN server is the README's, and so is the secret. */
const COTURN_CONFIG = fileURLToPath(new URL('../../examples/readme/turnserver.conf', import.meta.url))
const PORT = 3478
const CREDENTIALS = { secret: 'a-long-random-text-that-only-the-two-servers-know' }
const HOST = `${SERVER_ADDRESS}:${PORT}`
const STUN = { urls: `stun:${HOST}` }
const TURN_UDP = { urls: `turn:${HOST}`, ...CREDENTIALS }
const TURN_TCP = { urls: `turn:${HOST}?transport=tcp`, ...CREDENTIALS }

interface Case {
  readonly title: string
  readonly master: Router | 'public'
  readonly slave: Router
  readonly servers: readonly { urls: string }[]
  /** Whether a page tries it too. */
  readonly page?: true
  readonly expected: 'direct' | 'relay' | RegExp
}

const CASES: readonly Case[] = [
  {
    title: 'nothing, where the master is public',
    master: 'public',
    slave: 'symmetric',
    servers: [],
    expected: 'direct',
  },
  {
    title: 'STUN, where routers keep their mappings',
    master: 'cone',
    slave: 'cone',
    servers: [STUN],
    expected: 'direct',
  },
  {
    title: 'nothing, where routers keep their mappings',
    master: 'cone',
    slave: 'cone',
    servers: [],
    expected: /^No STUN server is configured, .*: add a STUN server to turn\.config\.json/,
  },
  {
    title: 'TURN, where both routers are symmetric',
    master: 'symmetric',
    slave: 'symmetric',
    servers: [STUN, TURN_UDP],
    page: true,
    expected: 'relay',
  },
  {
    title: 'STUN alone, where both routers are symmetric',
    master: 'symmetric',
    slave: 'symmetric',
    servers: [STUN],
    page: true,
    expected: /^Both ends know their public addresses.*: add a TURN server to turn\.config\.json$/,
  },
  {
    title: 'TURN, where one router is symmetric',
    master: 'cone',
    slave: 'symmetric',
    servers: [STUN, TURN_UDP],
    expected: 'relay',
  },
  {
    title: 'STUN alone, where one router is symmetric',
    master: 'cone',
    slave: 'symmetric',
    servers: [STUN],
    expected: /^Both ends know their public addresses.*: add a TURN server to turn\.config\.json$/,
  },
  {
    title: 'TURN over TCP, where UDP is blocked at both ends',
    master: 'no-udp',
    slave: 'no-udp',
    servers: [TURN_TCP],
    expected: 'relay',
  },
  {
    title: 'TURN over TCP, where UDP is blocked',
    master: 'cone',
    slave: 'no-udp',
    servers: [STUN, TURN_UDP, TURN_TCP],
    page: true,
    expected: 'relay',
  },
  {
    title: 'TURN over UDP, where UDP is blocked',
    master: 'cone',
    slave: 'no-udp',
    servers: [STUN, TURN_UDP],
    page: true,
    expected:
      /^No TURN server answered over UDP: .* add one over TCP \(turn:HOST\?transport=tcp\) to turn\.config\.json$/,
  },
  {
    title: 'STUN alone, where UDP is blocked',
    master: 'cone',
    slave: 'no-udp',
    servers: [STUN],
    expected:
      /^No STUN server answered here: .* add a TURN server over TCP \(turn:HOST\?transport=tcp\) to turn\.config\.json$/,
  },
  {
    title: 'TURN over TCP, where UDP is blocked at the master',
    master: 'no-udp',
    slave: 'cone',
    servers: [STUN, TURN_UDP, TURN_TCP],
    expected: 'relay',
  },
  {
    title: 'TURN over UDP, where UDP is blocked at the master',
    master: 'no-udp',
    slave: 'cone',
    servers: [STUN, TURN_UDP],
    expected:
      /^A TURN server answered here, .* where UDP is blocked there, add it over TCP \(\?transport=tcp\) to turn\.config\.json$/,
  },
  {
    title: 'STUN alone, where UDP is blocked at the master',
    master: 'no-udp',
    slave: 'cone',
    servers: [STUN],
    expected: /^The master knows no public address of its own: .* add a TURN server to turn\.config\.json$/,
  },
]

interface Household {
  readonly home: Home
  readonly host: HostProcess
  browser?: Promise<Browser>
}

describe('between networks', function () {
  this.timeout(120_000)
  const closing: (() => unknown)[] = []
  const outcomes = new Map<Case, { readonly node: Attempt; readonly page: Attempt | undefined }>()
  let network: Network
  let server: HostProcess

  function run(namespace: string): HostProcess {
    const host = new HostProcess(namespace)
    closing.unshift(() => host.stop())
    return host
  }

  /** One home for masters and one for slaves behind each kind of router, with what runs there. */
  const homes = { master: new Map<Router, Household>(), slave: new Map<Router, Household>() }
  function household(role: keyof typeof homes, router: Router): Household {
    const known = homes[role].get(router)
    if (known !== undefined) return known
    const home = network.home(router)
    const made: Household = { home, host: run(home.namespace) }
    homes[role].set(router, made)
    return made
  }

  /** A name server that hands these out, and a master that serves. */
  async function serve(servers: Case['servers'], where: Case['master']): Promise<string> {
    const url = await server.ask('serveNames', SERVER_ADDRESS, servers)
    await (where === 'public' ? server : household('master', where).host).ask('serve', url)
    return url
  }

  async function launch({ namespace }: Home): Promise<Browser> {
    const folder = await mkdtemp(join(tmpdir(), 'named-master-'))
    const program = join(folder, 'chromium-inside')
    await writeFile(program, `#!/bin/sh\nexec ip netns exec ${namespace} ${CHROMIUM} "$@"\n`, { mode: 0o700 })
    const browser = await launchChromium(program)
    closing.unshift(async () => {
      await browser.close()
      await rm(folder, { recursive: true })
    })
    return browser
  }

  async function attempt({ master, slave, servers, page }: Case): Promise<[Attempt, Attempt | undefined]> {
    const url = await serve(servers, master)
    const here = household('slave', slave)
    const inPage = async (): Promise<Attempt> => {
      const browser = await (here.browser ??= launch(here.home))
      return (await attemptInPage(browser, url)).attempt
    }
    return Promise.all([here.host.ask('attempt', url), page && inPage()])
  }

  before(async () => {
    network = Network.open()
    closing.unshift(() => network.close())
    const coturn = await Coturn.start({
      config: COTURN_CONFIG,
      credentials: CREDENTIALS,
      port: PORT,
      address: SERVER_ADDRESS,
      namespace: network.server,
    })
    closing.unshift(() => coturn.stop())
    server = run(network.server)
    await Promise.all(
      CASES.map(async (one) => {
        const [node, page] = await attempt(one)
        outcomes.set(one, { node, page })
      }),
    )
  })
  after(async () => {
    for (const close of closing.splice(0)) await close()
  })

  for (const one of CASES) {
    for (const engine of one.page ? (['node', 'page'] as const) : (['node'] as const)) {
      const end = engine === 'node' ? 'in Node' : 'in Chromium'
      it(`${one.title}, ${end}: ${one.expected instanceof RegExp ? 'no path, and why' : one.expected}`, () => {
        const outcome = outcomes.get(one)?.[engine]
        if (one.expected instanceof RegExp) {
          expect(outcome).to.include({ reached: false, code: 'unreachable' })
          expect(outcome?.message).to.match(one.expected)
        } else {
          expect(outcome, outcome?.message).to.include({ reached: true, path: one.expected })
          const { local, remote } = outcome?.pair ?? {}
          expect(local === 'relay' || remote === 'relay').to.equal(one.expected === 'relay')
          if (one.slave === 'no-udp') expect(outcome?.pair).to.include({ local: 'relay', relayProtocol: 'tcp' })
        }
      })
    }
  }

  it('comes back when its network changes, with nothing lost', async () => {
    const url = await serve([STUN], 'cone')
    const { home, host } = household('slave', 'cone')
    expect(await host.ask('attempt', url)).to.include({ path: 'direct' })
    home.move()
    await household('master', 'cone').host.ask('add', 1)
    expect(await host.ask('addAsSlave', 10, 11)).to.deep.equal(['resumed'])
  })
})
