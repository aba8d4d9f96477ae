import { expect, test } from 'vitest'
import { makeDatabase, requireMysql } from '../stack/require-mysql.ts'
import { sharedServer } from '../stack/shared-server.ts'

test('a server that many tests ask for is started once, and gives each a database of its own', async (context) => {
  const [one, other] = await Promise.all([requireMysql(context), requireMysql(context)])
  expect(one).toEqual(other)
  await using first = await makeDatabase(one)
  await using second = await makeDatabase(other)
  await first.root.query('CREATE TABLE t (n INT)')
  const [tables] = await second.root.query('SHOW TABLES')
  expect(tables).toEqual([])
})

test('a server of an unknown name is not there, and that is said', async () => {
  // In CI, where nothing may be missing, by an error.
  const answer = await sharedServer('postgres').catch((error: Error) => ({ access: null, unavailable: error.message }))
  expect(answer.access).toBeNull()
  expect(answer.unavailable).toContain('postgres')
})
