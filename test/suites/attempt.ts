/**
 * How a slave reached the master called garage, or why it did not. The functions refer to one another and to nothing
 * else outside, so that a page can be given their text: `ATTEMPT`.
 */
import type { Slave } from 'named-master'

/** The pair of candidates that a connection uses, as its engine says. */
export interface SelectedPair {
  readonly local: string
  readonly remote: string
  /** How this end reaches its own relay, where it has one: udp or tcp. */
  readonly relayProtocol?: string
}

export interface Attempt {
  readonly reached: boolean
  readonly path?: Slave['path']
  readonly pair?: SelectedPair
  readonly code?: string | undefined
  readonly message?: string | undefined
}

/** @param peers of which the slave's engine has made the last one for this */
export async function attempt<S>(slave: Slave<S>, peers: readonly RTCPeerConnection[]): Promise<Attempt> {
  // Above all deadlines that are documented: whoever misses them gets another code than is expected.
  const reached = await slave.connect('garage', { timeout: 45_000 })
  const peer = peers.at(-1)
  if (!reached || peer === undefined) {
    return { reached, code: slave.lastError?.code, message: slave.lastError?.message }
  }
  // What comes from a relay of the master may arrive before the candidate that names it (no master of the tests is behind
  // a router that would leave it nameless). The slave looks again at its next heartbeat.
  let pair = await selectedPair(peer)
  const early = (): boolean => slave.path === 'direct' && ['prflx', 'relay'].includes(pair.remote)
  while (slave.path === undefined || early()) pair = await selectedPair(peer)
  return { reached, path: slave.path, pair }
}

export async function selectedPair(peer: RTCPeerConnection): Promise<SelectedPair> {
  const stats = new Map<string, Record<string, unknown>>()
  const report = await peer.getStats()
  report.forEach((stat: Record<string, unknown>, id: string) => stats.set(id, stat))
  const transport = [...stats.values()].find((stat) => stat.type === 'transport')
  const pair = stats.get(String(transport?.selectedCandidatePairId))
  const local = stats.get(String(pair?.localCandidateId))
  const remote = stats.get(String(pair?.remoteCandidateId))
  return {
    local: String(local?.candidateType),
    remote: String(remote?.candidateType),
    ...(typeof local?.relayProtocol === 'string' && { relayProtocol: local.relayProtocol }),
  }
}

export const ATTEMPT = `${selectedPair.toString()}\n${attempt.toString()}`
