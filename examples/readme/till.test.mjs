import assert from 'node:assert/strict'
import test from 'node:test'
import { createStore } from 'named-master/store'
import { createWorld } from 'named-master/testing'

function tillStore() {
  const store = createStore({ sold: 0, stock: 10 })
  store.on('sell', ({ sold, stock }, number) => {
    if (number > stock) throw new Error('Not so many are left')
    return { sold: sold + number, stock: stock - number }
  })
  return store
}

test('two tills sell what is there, and nothing twice', async () => {
  const world = await createWorld({ store: tillStore, slaves: 2, latency: 50, durability: 'disk', seed: 7 })
  const [one, other] = world.slaves

  one.emit('sell', 3)
  await world.advance(60) // the master has taken it, and its answer is on the way
  one.cut() // and lost
  world.master.powerCut()
  other.emit('sell', 2) // waits for the master
  await world.master.restart()
  await world.settle() // everybody is back, all is answered, all states are equal
  assert.deepEqual(one.getState(), { sold: 5, stock: 5 })

  const refused = []
  one.events.on('refused', ({ message }) => refused.push(message))
  one.leave() // and sells without a network
  one.emit('sell', 4)
  other.emit('sell', 4)
  await world.advance(1000)
  await world.settle()
  assert.deepEqual(refused, ['Not so many are left'])
  assert.deepEqual(world.master.store.getState(), { sold: 9, stock: 1 })
  await world.close()
})
