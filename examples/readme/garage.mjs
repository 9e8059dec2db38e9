import { Master, createStore } from 'named-master'

const store = createStore({ title: 'Garage', count: 0 })
store.on('increment', (state, by = 1) => ({ ...state, count: state.count + by }))
store.subscribe(() => console.log(store.getState()))

const master = new Master('http://localhost:8002', { store, data: './garage-data' })
master.expose('sum', ({ a, b }) => a + b)
console.log(await master.startServer('garage')) // "registered", "started" from then on; "exists": it is somebody else's

process.once('SIGTERM', stop).once('SIGINT', stop)
async function stop() {
  await master.close()
  process.exit()
}
