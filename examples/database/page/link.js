// @ts-check
/** How the page stands to the master: always to be seen. */
import { byId, say } from './element.js'

/** How often the round trip shown is looked up again: it is measured by the link's own heartbeat. */
const LOOK_MILLISECONDS = 1000
/** A page that finds its master needs less; one that does not should say what it waits for. */
const PATIENCE_MILLISECONDS = 3000

const WORDS = /** @type {const} */ ({
  connected: 'connected',
  connecting: 'connecting',
  reconnecting: 'waiting for the master',
  disconnected: 'not connected',
})

/** @param {import('named-master').Slave<{ parts: number }>} slave */
export function showLink(slave) {
  const show = () => {
    byId('link').dataset.status = slave.status
    byId('link-word').textContent = WORDS[slave.status]
    const trip = slave.roundTrip
    const way = slave.path === 'relay' ? 'relayed' : slave.path
    const parts = [way, trip === undefined ? undefined : trip < 1 ? '<1 ms' : `${Math.round(trip)} ms`]
    byId('link-path').textContent =
      slave.status === 'connected' ? parts.filter((part) => part !== undefined).join(' · ') : ''
    if (slave.getState() !== undefined) byId('absent').hidden = true
  }
  slave.events.on('status', show)
  slave.events.on('refused', ({ message }) => say(message))
  setInterval(show, LOOK_MILLISECONDS)
  setTimeout(() => {
    const why = slave.lastError === undefined ? '' : ` ${slave.lastError.message}.`
    byId('absent').textContent = `The master of the parts is not there.${why} This page opens them as soon as it is.`
  }, PATIENCE_MILLISECONDS)
}
