import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { variableOf } from '../../src/config/environment.ts'
import { configTree, settingsOf } from '../../src/config/settings-tree.ts'
import { faultsOf } from './load.ts'
import { withReference } from './reference-table.ts'

const file = fileURLToPath(new URL('../../docs/configuration.md', import.meta.url))
const document = await readFile(file, 'utf8')

test('the reference in docs/configuration.md is current (npm run docs makes it so)', async () => {
  expect(await withReference(document, file)).toBe(document)
})

test('the reference names every setting and its variable', () => {
  for (const { path } of settingsOf(configTree)) {
    expect(document).toContain(`\`${path}\`<br>\`${variableOf(path)}\``)
  }
})

test('the faults that docs/configuration.md shows are what Outrigger prints', async () => {
  const shown = /```text\n(.*?)\n```/s.exec(document)?.[1]
  const yaml = 'broker: kafka\nkafka:\n  brokers:\n    [kafka-1:9092, kafka-2]\n\njournal:\n  directroy: /d\n'
  expect(await faultsOf({ yaml, env: { OUTRIGGER_DRAIN_DEADLINE: '25' } })).toEqual(shown?.split('\n'))
})
