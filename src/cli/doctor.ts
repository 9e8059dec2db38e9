/**
 * `named-master doctor`: checks a configuration for real, and says in a sentence each what is so, what is wrong and what
 * to do.
 *
 * Promises: every wait ends; what needs a check that failed is not asked; nothing is left when it is over, native
 * connections included. Does not promise that others reach what this machine reaches.
 */
import { existsSync } from 'node:fs'
import { loadIceServers, TURN_CONFIG_FILE } from '../../nameserver/ice.js'
import { nativeConnections } from '../link/native.js'
import type { IceServer } from '../protocol/naming.js'
import { NameClient, parseUrl } from '../signal/name-client.js'
import { checkIceUrl, iceUrlsOf, type IceUrl } from './doctor-ice.js'
import { checkNameServer } from './doctor-name-server.js'
import { checkName, checkPath } from './doctor-name.js'
import { finder, reasonIn, type Finding, type Report } from './report.js'

export interface Question {
  /** As `normalizeName` gives it; undefined checks no name. */
  readonly name: string | undefined
  readonly nameServer: string
  /** A file like turn.config.json, false for none, undefined for the one in the working folder when it is there. */
  readonly turn: string | false | undefined
  /** Milliseconds for each check. */
  readonly timeout: number
}

/** Tells the report all that it finds. @throws TypeError when `nameServer` is no URL */
export async function runDoctor({ name, nameServer, turn, timeout }: Question, report: Report): Promise<void> {
  const url = parseUrl(nameServer)
  const own = await readTurnFile(turn)
  report.add(...own.findings)
  const names = new NameClient(url.href, { timeout, log: () => undefined })
  try {
    report.add(...(await report.during(url.href, checkNameServer(url, names, timeout))))
    const welcomed = names.status === 'connected'
    if (welcomed) report.add(describeServers(names.iceServers, url.href))
    const relayed = await checkServers(names.iceServers, own, timeout, report)
    if (name !== undefined && welcomed) await visit(name, names, relayed, timeout, report)
  } finally {
    names.close()
    // A server that does not answer keeps its connection up for some seconds more.
    await report.during('closing', nativeConnections.idle())
  }
  report.end()
}

interface OwnServers {
  readonly file: string | undefined
  readonly findings: readonly Finding[]
  readonly servers: readonly IceServer[]
}

async function readTurnFile(turn: Question['turn']): Promise<OwnServers> {
  if (turn === false || (turn === undefined && !existsSync(TURN_CONFIG_FILE)))
    return { file: undefined, findings: [], servers: [] }
  const file = turn ?? TURN_CONFIG_FILE
  const find = finder('turn-config', file)
  try {
    const ice = await loadIceServers(file)
    const found = find('ok', `${file} is as it should be, and has ${ice.size} ${ice.size === 1 ? 'entry' : 'entries'}`)
    return { file, findings: [found], servers: ice.at(Date.now()) }
  } catch (error) {
    return { file, findings: [find('fail', reasonIn(error))], servers: [] }
  }
}

/** What the servers that a name server hands out are good for. */
function describeServers(servers: readonly IceServer[], subject: string): Finding {
  const urls = servers.flatMap((server) => server.urls)
  const count = (scheme: RegExp): number => urls.filter((url) => scheme.test(url)).length
  const find = finder('ice-servers', subject)
  if (urls.length === 0) {
    return find(
      'warning',
      'It hands out no STUN or TURN servers: on one network that will do, ' +
        'for ends behind different routers add them to its turn.config.json',
    )
  }
  if (count(/^turn/i) === 0) {
    return find(
      'warning',
      'It hands out no TURN server: add one to its turn.config.json for ends whose routers allow no direct path',
    )
  }
  return find('ok', `It hands out URLs of STUN (${count(/^stun/i)}) and TURN (${count(/^turn/i)}) servers`)
}

/**
 * Those handed out, and those of the file that are not the same: all at once, told in order.
 * Answers whether one that was handed out gave a relay.
 */
async function checkServers(
  handedOut: readonly IceServer[],
  { file, servers }: OwnServers,
  timeout: number,
  report: Report,
): Promise<boolean> {
  const asked = new Map<string, { readonly server: IceUrl; readonly source?: string | undefined }>()
  for (const server of iceUrlsOf(servers)) asked.set(JSON.stringify(server), { server, source: file })
  for (const server of iceUrlsOf(handedOut)) asked.set(JSON.stringify(server), { server })
  const checks = [...asked.values()].map(({ server, source }) => ({
    url: server.url,
    source,
    work: checkIceUrl(server, source, timeout),
  }))
  let relayed = false
  for (const { url, source, work } of checks) {
    const found = await report.during(url, work)
    report.add(found)
    relayed ||= source === undefined && found.check === 'turn' && found.verdict !== 'fail'
  }
  return relayed
}

async function visit(
  name: string,
  names: NameClient,
  relayed: boolean,
  timeout: number,
  report: Report,
): Promise<void> {
  const known = await report.during(name, checkName(name, names))
  report.add(known)
  if (known.verdict === 'fail') return
  report.add(await report.during(`a path to ${name}`, checkPath(name, names, 'all', timeout)))
  if (relayed)
    report.add(await report.during(`a path to ${name} through a relay`, checkPath(name, names, 'relay', timeout)))
}
