/**
 * Looks for the master of a name as a slave does, up to an open channel and a ping.
 *
 * Promises: never rejects, ends in time. Says no hello: the master's program is told nothing, no session begins and no
 * state is sent; so the master's version, and whom it lets in, stay unknown.
 */
import { createLink } from '../link/link.js'
import { parseDown, type Down, type Up } from '../protocol/replication.js'
import type { NameClient } from '../signal/name-client.js'
import { Dialler } from '../slave/dialler.js'
import { finder, reasonIn, since, type Finding } from './report.js'

/** Bytes of one message of a master that was not greeted: pings, and a goodbye. */
const MAX_MESSAGE_BYTES = 64 * 1024

/** Whether it is known and live. `names` is connected. */
export async function checkName(name: string, names: NameClient): Promise<Finding> {
  const find = finder('name', name)
  try {
    const { live, registered } = await names.request('watch', { name })
    if (live) return find('ok', `"${name}" is registered, and its master is there`)
    return registered === false
      ? find('fail', `Nobody has registered "${name}" here: check the name and the name server's address`)
      : find('fail', `The master of "${name}" is not there now: start it, and check the name server that it uses`)
  } catch (error) {
    return find('fail', reasonIn(error))
  }
}

/** Whether its master is reached: on any path, or through a relay alone. @param timeout milliseconds, for each step */
export async function checkPath(
  name: string,
  names: NameClient,
  policy: RTCIceTransportPolicy,
  timeout: number,
): Promise<Finding> {
  const find = finder(policy === 'relay' ? 'relay' : 'path', name)
  try {
    const { path, opened, roundTrip } = await reach(name, names, policy, timeout)
    const way = path === 'relay' ? 'through a relay' : 'directly'
    const sentence = `The master of "${name}" is reached ${way}: open after ${opened} ms, a round trip of ${roundTrip.toFixed(1)} ms`
    return find('ok', sentence)
  } catch (error) {
    const how = policy === 'relay' ? ' through a relay' : ''
    const sentence = `The master of "${name}" is not reached${how}. ${reasonIn(error)}`
    return find('fail', sentence)
  }
}

/** Opens a channel, exchanges a ping and leaves. */
async function reach(name: string, names: NameClient, iceTransportPolicy: RTCIceTransportPolicy, timeout: number) {
  const dialler = new Dialler(names, { iceTransportPolicy, timeout })
  const began = performance.now()
  try {
    // Each of its steps has a deadline of its own.
    const channel = await dialler.dial(name, new AbortController().signal)
    const opened = since(began)
    const link = createLink<Down, Up>(channel, {
      parse: parseDown,
      maxMessageBytes: MAX_MESSAGE_BYTES,
      heartbeat: { interval: timeout, silence: () => timeout },
    })
    try {
      const roundTrip = await new Promise<number>((resolve, reject) => {
        link.events.once('close', reject)
        link.events.on('message', () => link.roundTrip !== undefined && resolve(link.roundTrip))
      })
      return { path: await link.path(), opened, roundTrip }
    } finally {
      await link.close('closed', 'named-master doctor has seen enough')
    }
  } finally {
    await dialler.close()
  }
}
