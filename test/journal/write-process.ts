import { codeOf } from '../../src/base/errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'

/** Creates a file, writes so many bytes to it, and says how that ended. */
const [path, bytes] = process.argv.slice(2) as [string, string]
const file = await nodeDisk.open(path, 'create')
const outcome = await file.write(Buffer.alloc(Number(bytes)), 0).then(
  () => 'written',
  (error: unknown) => codeOf(error) ?? String(error),
)
await file.close()
process.stdout.write(`${outcome}\n`)
