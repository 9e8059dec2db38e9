import { Slave } from 'named-master/slave'

const slave = new Slave('http://localhost:8002', { initialState: { title: 'Garage', count: 0 } })
slave.subscribe(() => (document.title = `${slave.getState().title}: ${slave.getState().count}`))
await slave.connect('garage', { wait: true })
