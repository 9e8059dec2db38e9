import { expect } from 'chai'
import { createStore, Master } from 'named-master'
import { createNameServer } from 'named-master/nameserver'
import { Slave } from 'named-master/slave'

describe('a slave that disconnects in the turn in which it is connected', () => {
  it('is disconnected, and nothing waits for ever', async () => {
    const log = () => undefined
    const nameServer = await createNameServer({ port: 0, data: false, turn: false, log })
    const master = new Master(nameServer.url, { store: createStore({ count: 0 }), log })
    await master.startServer('garage')
    const slave = new Slave(nameServer.url, { log })
    const disconnected = new Promise<false>((resolve) => {
      slave.events.on('status', (status) => {
        if (status === 'connected') resolve(slave.disconnect())
      })
    })
    await slave.connect('garage')
    expect(await disconnected).to.equal(false)
    expect(slave.status).to.equal('disconnected')
    await master.close()
    await nameServer.close()
  })
})
