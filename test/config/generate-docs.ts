import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { withReference } from './reference-table.ts'

// `npm run docs`: makes the reference in docs/configuration.md anew from the schema.
const file = fileURLToPath(new URL('../../docs/configuration.md', import.meta.url))
await writeFile(file, await withReference(await readFile(file, 'utf8'), file))
