/** Where the time went: CPU profiles of the processes of a row (`--profile`), summed up by function. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** Functions named per process. */
const NAMED = 14

/** Time of no function of JavaScript. */
const NOT_BUSY = new Set(['(idle)', '(program)'])
const LOADING = /^node:internal\/(modules|bootstrap|main)\//

/** A text with the functions of each process that took most time themselves. */
export function hotSpots(folder, row) {
  const roles = existsSync(join(folder, row)) ? readdirSync(join(folder, row)) : []
  return roles
    .map((role) => {
      const files = readdirSync(join(folder, row, role)).filter((file) => file.endsWith('.cpuprofile'))
      return sum(
        files.map((file) => JSON.parse(readFileSync(join(folder, row, role, file), 'utf8'))),
        `${row}/${role}`,
      )
    })
    .join('\n')
}

function sum(profiles, title) {
  const taken = new Map()
  let busy = 0
  for (const { nodes, samples, timeDeltas } of profiles) {
    const names = namesOf(nodes)
    samples.forEach((sample, at) => {
      const name = names.get(sample)
      if (name === undefined) return
      const ms = (timeDeltas[at] ?? 0) / 1000
      busy += ms
      taken.set(name, (taken.get(name) ?? 0) + ms)
    })
  }
  const most = [...taken].sort(([, a], [, b]) => b - a).slice(0, NAMED)
  const list = most.map(([name, ms]) => `    ${((100 * ms) / busy).toFixed(1).padStart(5)}%  ${name}`)
  return [`  ${title}: busy ${(busy / 1000).toFixed(1)} s in ${profiles.length} processes`, ...list].join('\n')
}

/** By node: what to call its function; not of those that were idle, or loading modules. */
function namesOf(nodes) {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const names = new Map()
  const visit = ({ id, callFrame, children = [] }) => {
    if (NOT_BUSY.has(callFrame.functionName) || LOADING.test(callFrame.url)) return
    names.set(id, nameOf(callFrame))
    for (const child of children) visit(byId.get(child))
  }
  for (const child of nodes[0].children) visit(byId.get(child))
  return names
}

const nameOf = ({ functionName, url, lineNumber }) =>
  url === '' ? functionName : `${functionName || '(anonymous)'} ${basename(url)}:${lineNumber + 1}`
