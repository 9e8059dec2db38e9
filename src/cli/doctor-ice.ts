/**
 * Asks a STUN or TURN server for real: STUN for our address, TURN for a relay, with the engine that connections use.
 * One URL at a time, so that each server's answer is its own.
 *
 * Promises: never rejects; ends in time (looking up, and then asking); what is native is closed, see nativeConnections.
 */
import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { placeOf } from '../../nameserver/ice.js'
import { NativeConnection } from '../link/native.js'
import type { IceServer } from '../protocol/naming.js'
import { NOT_REACHED_CODE, PRIVATE_IPV4, REFUSED_CODES } from '../slave/diagnosis.js'
import { finder, since, type Finding } from './report.js'
import { askStun, NoAnswer } from './stun.js'
import { loadRtc } from '#rtc'

/** One URL of an entry, with the entry's credentials. */
export interface IceUrl extends Omit<IceServer, 'urls'> {
  readonly url: string
}

export const iceUrlsOf = (servers: readonly IceServer[]): IceUrl[] =>
  servers.flatMap(({ urls, ...credentials }) => urls.map((url) => ({ url, ...credentials })))

/**
 * @param source where the URL is from, where that is not plain
 * @param timeout milliseconds
 */
export async function checkIceUrl(server: IceUrl, source: string | undefined, timeout: number): Promise<Finding> {
  const { url } = server
  const check = /^turn/i.test(url) ? 'turn' : 'stun'
  const find = finder(check, url)
  const say = (verdict: 'ok' | 'warning' | 'fail', rest: string): Finding =>
    find(verdict, `${url}${source === undefined ? '' : ` (${source})`} ${rest}`)
  const place = placeOf(url)
  if (place === undefined) return say('fail', 'is no URL of a STUN or TURN server: correct it in turn.config.json')
  if (place.scheme === 'stuns')
    return say('warning', 'was not asked, because browsers do not speak TLS with STUN servers: write stun:')
  try {
    const addresses = await within(
      timeout,
      lookup(place.host, { all: true }),
      'has a host that could not be looked up in time',
    )
    const began = performance.now()
    if (check === 'stun') {
      const seen = await askAny(addresses, place.port, timeout)
      return say('ok', `answers in ${since(began)} ms, and sees this machine as ${seen}`)
    }
    const relay = await gatherRelay(server, timeout)
    const doubt = doubtAbout(relay, addresses)
    if (doubt !== undefined) return say('warning', `relays, but from ${relay}, ${doubt}`)
    return say('ok', `relays from ${relay}, after ${since(began)} ms`)
  } catch (error) {
    return say('fail', reasonOf(error, server))
  }
}

/** The first answer of the host's addresses: this machine may be without IPv6. */
async function askAny(addresses: readonly LookupAddress[], port: number, timeout: number): Promise<string> {
  const stop = new AbortController()
  const timer = setTimeout(() => stop.abort(), timeout)
  try {
    return await Promise.any(addresses.map((address) => askStun(address, port, stop.signal)))
  } catch (error) {
    throw error instanceof AggregateError ? error.errors[0] : error
  } finally {
    clearTimeout(timer)
    stop.abort()
  }
}

/** What a TURN server answered instead of a relay. */
class TurnFault extends Error {
  readonly code: number

  constructor(code: number, text: string) {
    super(text)
    this.code = code
  }
}

/** The address of a relay that this server gives. */
async function gatherRelay({ url, ...credentials }: IceUrl, timeout: number): Promise<string> {
  const native = new NativeConnection(await loadRtc(), {
    iceServers: [{ urls: [url], ...credentials }],
    iceTransportPolicy: 'relay',
  })
  const { peer } = native
  const relay = new Promise<string>((resolve, reject) => {
    const noRelay = new NoAnswer('cannot be reached, or does not speak TURN')
    peer.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate === null) reject(noRelay)
      else if (candidate.candidate.includes(' typ relay')) resolve(candidate.candidate.split(' ')[4] ?? '')
    })
    peer.addEventListener('icecandidateerror', ({ url: asked, errorCode, errorText }) => {
      if (errorCode < NOT_REACHED_CODE && asked.startsWith('turn')) reject(new TurnFault(errorCode, errorText))
    })
    native.createChannel('doctor', {})
    native.run(async () => peer.setLocalDescription(await peer.createOffer())).catch(reject)
  })
  try {
    return await within(timeout, relay, 'does not answer')
  } finally {
    // Takes 5 s longer where a server does not answer: nobody waits for it here.
    void native.close()
  }
}

async function within<T>(timeout: number, work: Promise<T>, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new NoAnswer(otherwise)), timeout)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** What is wrong and what to do, after the URL. */
function reasonOf(error: unknown, server: IceUrl): string {
  const { scheme, host, port } = placeOf(server.url) ?? {}
  if (error instanceof TurnFault) {
    return REFUSED_CODES.includes(error.code)
      ? `refuses the credentials (${error.code} ${error.message}): ${adviceOnCredentials(server.username ?? '')}`
      : `gives no relay (${error.code} ${error.message}): see the log of the TURN server`
  }
  const { message, code, syscall } = error as NodeJS.ErrnoException
  if (syscall === 'getaddrinfo')
    return `cannot be asked, for there is no host "${host}" (${code}): check the name and the DNS`
  if (!(error instanceof NoAnswer)) return `could not be asked: ${message}`
  const transport = scheme === 'turns' || /transport=tcp/i.test(server.url) ? 'TCP' : 'UDP'
  return `${message}: check that it runs, and that firewalls let ${transport} to port ${port} through`
}

/** A user name that begins with the time of its end is a time-limited one, as coturn's use-auth-secret takes it. */
function adviceOnCredentials(username: string): string {
  const end = /^(\d{9,11})(?::|$)/.exec(username)?.[1]
  if (end === undefined) return "compare username and credential with the TURN server's"
  const ended = Number(end) * 1000
  if (ended < Date.now()) {
    return (
      `they ended at ${new Date(ended).toISOString()}: give turn.config.json the secret of the TURN server, ` +
      'from which the name server makes new ones, and see that the clocks are right'
    )
  }
  return (
    "compare the secret with the TURN server's (coturn: static-auth-secret), " +
    'and see that the clocks of both are right'
  )
}

const isLoopback = (address: string): boolean => /^127\.|^::1$/.test(address)
/** Loopback included. */
const isPrivate = (address: string): boolean =>
  PRIVATE_IPV4.test(address) || isLoopback(address) || /^(f[cd]|fe[89ab])[0-9a-f]{0,2}:/i.test(address)

/** Why others may not reach a relay that we were given, and what to do. */
export function doubtAbout(relay: string, addresses: readonly LookupAddress[]): string | undefined {
  if (isLoopback(relay)) {
    return (
      'which only this machine reaches: have it relay from an address that others reach (coturn: relay-ip), ' +
      'or for tests on one machine allow it to reach loopback (coturn: allow-loopback-peers)'
    )
  }
  if (isPrivate(relay) && !addresses.some(({ address }) => isPrivate(address)))
    return 'a private address that others do not reach: tell it its public one (coturn: external-ip)'
  return undefined
}
