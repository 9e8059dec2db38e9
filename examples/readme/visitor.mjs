import { Slave } from 'named-master/slave'

const slave = new Slave('http://localhost:8002')
if (!(await slave.connect('garage'))) throw slave.lastError

slave.on('increment', (state, by = 1) => ({ ...state, count: state.count + by }))
slave.emit('increment', 2) // shown at once, by the line above
slave.mutate((state) => ({ ...state, title: 'My garage' }))
console.log(slave.getState())

await slave.settled() // the master has committed both
console.log(await slave.call('sum', { a: 1, b: 2 }))
await slave.disconnect()
