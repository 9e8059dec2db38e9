/** Where the time went: CPU profiles of the processes of a row (`--profile`), summed up by function and by package. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** Functions and packages named per process. */
const FUNCTIONS = 10
const PACKAGES = 6

/** No work of JavaScript's, and what comes before the row. */
const NOT_BUSY = new Set(['(idle)', '(program)'])
const LOADING = /^node:internal\/(modules|bootstrap|main)\//

/** A text with the functions of each process that took most time themselves, and with the packages they are of. */
export function hotSpots(folder, row) {
  const roles = existsSync(join(folder, row)) ? readdirSync(join(folder, row)) : []
  return roles
    .map((role) => {
      const files = readdirSync(join(folder, row, role)).filter((file) => file.endsWith('.cpuprofile'))
      const profiles = files.map((file) => JSON.parse(readFileSync(join(folder, row, role, file), 'utf8')))
      return summary(`${row}/${role}`, profiles)
    })
    .join('\n')
}

function summary(title, profiles) {
  const [byFunction, byPackage] = [new Map(), new Map()]
  const add = (sums, name, ms) => sums.set(name, (sums.get(name) ?? 0) + ms)
  let busy = 0
  for (const { nodes, samples, timeDeltas } of profiles) {
    const known = whoseTime(nodes)
    samples.forEach((sample, at) => {
      const whose = known.get(sample)
      if (whose === undefined) return
      const ms = (timeDeltas[at] ?? 0) / 1000
      busy += ms
      add(byFunction, whose.name, ms)
      add(byPackage, whose.owner, ms)
    })
  }
  const most = (sums, count) =>
    [...sums]
      .sort(([, a], [, b]) => b - a)
      .slice(0, count)
      .map(([name, ms]) => `${((100 * ms) / busy).toFixed(1)}% ${name}`)
  return [
    `  ${title}: busy ${(busy / 1000).toFixed(1)} s in ${profiles.length} processes`,
    `    ${most(byPackage, PACKAGES).join(', ')}`,
    ...most(byFunction, FUNCTIONS).map((line) => `      ${line}`),
  ].join('\n')
}

/** By node: its function, and the package that it, or for what is native its caller, is of. */
function whoseTime(nodes) {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const known = new Map()
  const visit = ({ id, callFrame, children = [] }, caller) => {
    if (NOT_BUSY.has(callFrame.functionName) || LOADING.test(callFrame.url)) return
    const owner = packageOf(callFrame.url) ?? caller
    known.set(id, { name: nameOf(callFrame), owner })
    for (const child of children) visit(byId.get(child), owner)
  }
  for (const child of nodes[0].children) visit(byId.get(child), 'the engine')
  return known
}

const nameOf = ({ functionName, url, lineNumber }) =>
  url === '' ? functionName : `${functionName || '(anonymous)'} ${basename(url)}:${lineNumber + 1}`

function packageOf(url) {
  if (url === '') return undefined
  const [, dependency] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? []
  const [, room] = /\/dist\/((?:src\/)?[^/]+)/.exec(url) ?? []
  return dependency ?? room ?? (url.startsWith('node:') ? 'node' : 'bench')
}
