/** The files of a split bundle that a page loads with one of them: those that it imports, and so on; not what it asks for later. */
export function loadedAtOnce({ outputs }, file, loaded = new Set()) {
  loaded.add(file)
  for (const { kind, path } of outputs[file].imports) {
    if (kind === 'import-statement' && !loaded.has(path)) loadedAtOnce({ outputs }, path, loaded)
  }
  return loaded
}
