// What a page with a bundler writes.
import { Slave } from 'named-master/slave'

globalThis.slave = new Slave(location.origin)
