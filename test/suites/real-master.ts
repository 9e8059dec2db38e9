/**
 * A master as programs have it, in a process of its own: its arguments are the address of a name server, its data folder
 * and the durability (`none` for one that keeps nothing). It serves the name `garage`, and prints how long that took, and when its folder cannot be written:
 * what its own program's change says then, and how much it can still read.
 */
import { createStore, Master, type Durability, type NamedMasterError } from 'named-master'
import { count, startingState } from './storekeepers.js'

const store = createStore(startingState())
store.on('count', count)

function own(): string {
  try {
    store.emit('count', 'own')
    return 'nothing'
  } catch (error) {
    return (error as NamedMasterError).code
  }
}

function log(level: string, sentence: string): void {
  if (sentence.startsWith('The journal cannot be written')) {
    // It is said before it is so.
    setImmediate(() =>
      console.log(`full: its own change throws ${own()}, it reads ${Object.keys(store.getState().tokens).length}`),
    )
  } else if (sentence.startsWith('The journal can be written')) console.log('written again')
  else if (level === 'error') console.error(sentence)
}

const [url = '', data = '', durability = 'process'] = process.argv.slice(2)
const began = performance.now()
const kept = durability === 'none' ? { key: 'k'.repeat(43) } : { data, durability: durability as Durability }
await new Master(url, { store, ...kept, log }).startServer('garage')
console.log(`serves after ${(performance.now() - began).toFixed(1)} ms`)
