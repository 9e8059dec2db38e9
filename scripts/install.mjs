/** npm's packages, installed when what is here is not what package-lock.json says. Uses nothing but Node. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from './run.mjs'

export async function installPackages() {
  if (upToDate()) return
  console.log('Installing npm packages (npm ci)')
  // The native parts are optional dependencies with ready binaries, so no package needs its install script.
  await run('npm', ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund'])
}

/** npm writes what it installed to node_modules/.package-lock.json: compared package by package, not by time. */
function upToDate() {
  const installedLock = join(root, 'node_modules/.package-lock.json')
  if (!existsSync(installedLock)) return false
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const installed = packagesOf(installedLock)
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true
    const there = installed[path]
    // An optional package of another platform is rightly absent.
    return there === undefined ? optional === true : there.version === version
  })
}

const packagesOf = (lockFile) => JSON.parse(readFileSync(lockFile, 'utf8')).packages
