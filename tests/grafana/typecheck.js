// node typecheck.js FILE.json...
//
// Holds dashboards against Grafana's types. Prints one JSON array, with the list of complaints for each file.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

// As if the JSON stood in a module beside types.ts, under a name that no file has.
const modules = process.argv.slice(2).map((file, i) => ({
  name: join(import.meta.dirname, `dashboard-${i}.ts`),
  text: `import type { Dashboard } from './types.js'\nexport default ${readFileSync(file, 'utf8').trim()} satisfies Dashboard\n`,
}))
const options = { module: ts.ModuleKind.NodeNext, noEmit: true, skipLibCheck: true, strict: true, types: [] }
const host = ts.createCompilerHost(options)
const { fileExists, getSourceFile } = host
const text = name => modules.find(module => module.name === name)?.text
host.fileExists = name => text(name) !== undefined || fileExists(name)
host.getSourceFile = (name, version) =>
  text(name) === undefined ? getSourceFile(name, version) : ts.createSourceFile(name, text(name), version)

const program = ts.createProgram(modules.map(module => module.name), options, host)
const describe = ({ file, start, messageText }) => {
  const line = file ? `line ${file.getLineAndCharacterOfPosition(start).line}: ` : ''
  return line + ts.flattenDiagnosticMessageText(messageText, '\n')
}
// What is wrong with types.ts, or with the packages, is wrong for every file.
const elsewhere = ts.getPreEmitDiagnostics(program).filter(({ file }) => text(file?.fileName) === undefined)
const complaints = modules.map(({ name }) => {
  const file = program.getSourceFile(name)
  const own = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]
  return [...elsewhere, ...own].map(describe)
})
console.log(JSON.stringify(complaints))
