// A program of somebody who takes the types seriously: it is compiled, not run.
import { Master, Slave, createStore, NamedMasterError } from 'named-master'
import * as master from 'named-master/master'
import * as nameserver from 'named-master/nameserver'
import * as slave from 'named-master/slave'
import * as store from 'named-master/store'
import * as testing from 'named-master/testing'

export const program = async (): Promise<string> => {
  const garage = new Master('http://localhost:8002', { store: createStore({ count: 0 }) })
  await garage.startServer('garage')
  const visitor = new Slave('http://localhost:8002')
  const connected: boolean = await visitor.connect('garage')
  if (!connected && visitor.lastError instanceof NamedMasterError) return visitor.lastError.code
  await visitor.disconnect()
  await garage.close()
  return 'done'
}

export const rooms = { master, nameserver, slave, store, testing }
