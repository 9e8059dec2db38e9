// @ts-check
/**
 * How the page stands to the master: always to be seen, never in the way. Changes go out through `change`, which counts
 * those that the master has not answered yet.
 */
import { byId } from './frame.js'
import { say, toast } from './toasts.js'

/** How often the round trip shown is looked up again: it is measured by the link's own heartbeat. */
const LOOK_MILLISECONDS = 1000
/** A page that finds its master needs less; one that does not should say what it waits for. */
const PATIENCE_MILLISECONDS = 3000

const WORDS = /** @type {const} */ ({
  connected: 'connected',
  connecting: 'connecting',
  reconnecting: 'reconnecting',
  disconnected: 'not connected',
})

/** @param {import('named-master').Slave} slave */
export function showLink(slave) {
  const pill = byId('link')
  const word = byId('link-word')
  const path = byId('link-path')
  const badge = byId('waiting')
  let waiting = 0

  const show = () => {
    const connected = slave.status === 'connected'
    pill.dataset.status = slave.status
    word.textContent = WORDS[slave.status]
    const trip = slave.roundTrip
    const way = slave.path === 'relay' ? 'relayed' : slave.path
    const parts = [way, trip === undefined ? undefined : trip < 1 ? '<1 ms' : `${Math.round(trip)} ms`]
    path.textContent = connected ? parts.filter((part) => part !== undefined).join(' · ') : ''
    badge.hidden = waiting === 0
    badge.textContent = `${waiting} waiting`
    badge.title = 'Your changes that the master has not answered yet. They are kept and sent when it is back.'
  }

  slave.events.on('status', (status) => {
    show()
    say(status === 'reconnecting' ? 'Reconnecting. You can go on working.' : WORDS[status])
  })
  slave.events.on('refused', ({ message }) => toast(message))
  slave.events.on('reset', ({ lost }) => {
    if (lost.length > 0) toast(`The master was restored from an older state: ${lost.length} of your changes are gone.`)
    else toast('The board was started anew: this is what it has now.')
  })
  setInterval(show, LOOK_MILLISECONDS)

  const cover = byId('absent')
  setTimeout(() => {
    if (slave.getState() !== undefined) return
    byId('absent-title').textContent = 'Waiting for the board’s master'
    byId('absent-text').textContent = 'It has not answered yet. This page opens the board as soon as it does.'
    byId('absent-why').textContent = slave.lastError?.message ?? ''
  }, PATIENCE_MILLISECONDS)

  return {
    show,
    /** The first state is there. */
    arrived: () => {
      cover.hidden = true
      show()
    },
    /** No waiting will help. @param {string} reason */
    failed: (reason) => {
      byId('absent-title').textContent = 'The board cannot be opened'
      byId('absent-text').textContent = reason
      show()
    },
    /** Makes a change; answers whether it could be made. @param {string} event @param {unknown} payload */
    change: (event, payload) => {
      try {
        slave.emit(event, payload)
      } catch (error) {
        toast(error instanceof Error ? error.message : String(error))
        return false
      }
      waiting++
      show()
      const answered = () => {
        waiting--
        show()
      }
      // What is refused is told by the event 'refused'.
      slave.settled().then(answered, answered)
      return true
    },
  }
}
