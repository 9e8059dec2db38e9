/**
 * Why no path to the master was found, and what to do: one sentence, made of what this end saw. Pure.
 *
 * The first row that fits is the answer. "Public" is an address that another network can reach: one that a STUN server
 * told, or an own IPv4 address that is no private one.
 *
 * | configured                   | seen                                   | the sentence names                          |
 * | ---------------------------- | -------------------------------------- | ------------------------------------------- |
 * | TURN                         | a relay of both ends                   | the TURN server's own addresses and ports   |
 * | TURN                         | a relay of this end                    | TURN, as the master reaches it              |
 * | TURN                         | it refused the credentials             | the credentials                             |
 * | TURN                         | it answered another error              | that error                                  |
 * | TURN, none of it over TCP    | nothing                                | TURN over TCP                               |
 * | TURN                         | nothing                                | TURN, as this end reaches it                |
 * | no TURN, only relays allowed |                                        | TURN                                        |
 * | neither                      |                                        | STUN                                        |
 * | STUN                         | nothing public of this end             | STUN as this end reaches it, TURN over TCP  |
 * | STUN                         | nothing public of the master           | STUN as the master reaches it, TURN         |
 * | STUN                         | public addresses of both               | TURN                                        |
 *
 * It cannot tell a server that is down from one that a firewall hides, nor a wrong credential from an expired one.
 */
import type { ServerFault } from '../link/datachannel.js'
import type { IceServer } from '../protocol/naming.js'

/** What one end knows of a search that found nothing. */
export interface Search {
  readonly servers: readonly IceServer[]
  readonly policy: RTCIceTransportPolicy
  /** The candidates of this end and of the master, as in SDP: `candidate:... typ host ...`. */
  readonly own: readonly string[]
  readonly theirs: readonly string[]
  readonly faults: readonly ServerFault[]
}

/** Unauthorized (RFC 8489) and Wrong Credentials (RFC 8656). */
export const REFUSED_CODES = [401, 441]
/** From here on codes are not STUN's but WebRTC's own: the server was not reached. */
export const NOT_REACHED_CODE = 700

export function diagnose(search: Search): string {
  const urls = search.servers.flatMap((server) => server.urls)
  if (urls.some((url) => /^turns?:/i.test(url))) return diagnoseRelay(search, urls)
  if (search.policy === 'relay') {
    return 'Only relays may be used, and no TURN server is configured: add a TURN server to turn.config.json'
  }
  if (urls.length === 0) {
    return (
      'No STUN server is configured, and without one ends behind different routers do not find each other: ' +
      'add a STUN server to turn.config.json, and a TURN server for where that is not enough'
    )
  }
  if (!search.own.some(isPublic)) {
    return (
      'No STUN server answered here: check that they run; where UDP is blocked, ' +
      'add a TURN server over TCP (turn:HOST?transport=tcp) to turn.config.json'
    )
  }
  if (!search.theirs.some(isPublic)) {
    return (
      'The master knows no public address of its own: check that it reaches the STUN servers, ' +
      'or add a TURN server to turn.config.json'
    )
  }
  return 'Both ends know their public addresses, and no direct path joins them: add a TURN server to turn.config.json'
}

function diagnoseRelay({ own, theirs, faults }: Search, urls: readonly string[]): string {
  if (own.some(isRelay)) {
    return theirs.some(isRelay)
      ? "Both ends have a relay, and nothing passes between them: check the TURN server's public address " +
          '(external-ip), that its firewall lets its relay ports through, and that it allows these peers'
      : 'A TURN server answered here, and nothing of the master came through it: check that the master reaches it; ' +
          'where UDP is blocked there, add it over TCP (?transport=tcp) to turn.config.json'
  }
  const refused = faults.find(({ code }) => REFUSED_CODES.includes(code))
  if (refused !== undefined) {
    return (
      `The TURN server ${refused.url} refused the credentials: check username and credential in turn.config.json, ` +
      'or the secret and that both clocks are right'
    )
  }
  const answered = faults.find(({ code }) => code < NOT_REACHED_CODE)
  if (answered !== undefined) {
    return `The TURN server ${answered.url} gave no relay, but answered ${answered.code} ${answered.text}: see its log`
  }
  if (!urls.some(isTurnOverTcp)) {
    return (
      'No TURN server answered over UDP: check that they run; where UDP is blocked, ' +
      'add one over TCP (turn:HOST?transport=tcp) to turn.config.json'
    )
  }
  return 'No TURN server answered: check that they run, and that this network lets their ports through'
}

/** TLS is over TCP, unless it is said that it is not. */
const isTurnOverTcp = (url: string): boolean => /^turns:(?!.*transport=udp)|^turn:.*transport=tcp/i.test(url)

const isRelay = (candidate: string): boolean => / typ relay\b/.test(candidate)

export const PRIVATE_IPV4 = /^(0|10|127)\.|^192\.168\.|^169\.254\.|^172\.(1[6-9]|2\d|3[01])\.|^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./ // prettier-ignore

function isPublic(candidate: string): boolean {
  if (/ typ srflx\b/.test(candidate)) return true
  const address = / (\d+\.\d+\.\d+\.\d+) \d+ typ host\b/.exec(candidate)?.[1]
  return address !== undefined && !PRIVATE_IPV4.test(address)
}
