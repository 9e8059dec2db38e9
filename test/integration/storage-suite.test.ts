import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStorage } from '#storage'
import { FaultyDisk } from 'named-master/testing'
import { storageSuite } from '../suites/storage.js'

describe('every storage', () => {
  const folders: string[] = []
  after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))))

  storageSuite('Level in a folder', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'named-master-storage-'))
    folders.push(folder)
    return openStorage(folder, 'master')
  })
  storageSuite('Level in memory', () => openStorage(false, 'master'))
  storageSuite('a disk that fails on command', async () => new FaultyDisk().open())
})
