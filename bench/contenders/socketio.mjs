/** The same store, relayed by a plain Socket.IO server: it holds it, applies each event in turn and tells everybody. */
import { createServer } from 'node:http'
import { once } from 'node:events'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { createStore } from 'named-master'

/** `processes.relay` of a row. @param handlers by event, those of the store */
export const relayOf = (state, handlers) => ({
  async open() {
    const http = createServer().listen(0, '127.0.0.1')
    await once(http, 'listening')
    const store = createStore(state)
    for (const [event, handler] of Object.entries(handlers)) store.on(event, handler)
    const server = new Server(http, { transports: ['websocket'], serveClient: false })
    let version = 0
    server.on('connection', (socket) => {
      socket.emit('state', store.getState())
      socket.on('emit', (event, payload) => {
        store.emit(event, payload)
        server.emit('commit', ++version, event, payload)
      })
      // In order after what was emitted before.
      socket.on('settled', (committed) => committed())
      socket.on('call', (params, answer) => answer(params))
    })
    return `http://127.0.0.1:${http.address().port}`
  },
})

/** A client with a copy of the store. */
export async function joinRelay(url, handlers) {
  const socket = io(url, { transports: ['websocket'], forceNew: true })
  const client = { socket, state: undefined, changed: () => undefined }
  socket.on('commit', (_version, event, payload) => {
    client.state = handlers[event](client.state, payload) ?? client.state
    client.changed(client.state)
  })
  client.state = (await once(socket, 'state'))[0]
  return client
}
