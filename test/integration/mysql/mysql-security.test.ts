import { describeWithServer } from '../../stack/describe-with-server.ts'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { Secret } from '../../../src/base/secret.ts'
import { MysqlConnection, sslOptionsOf } from '../../../src/mysql/mysql-connection.ts'
import type { MysqlOptions } from '../../../src/mysql/mysql-options.ts'
import type { StoreError } from '../../../src/recorder/store-error.ts'
import { metadataRow } from '../../recorder/metadata-store-contract.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import { makeDatabase, sharedMysql, sqlFlavours, type TestDatabase } from '../../stack/require-mysql.ts'
import { caOf, mysqlOptions, mysqlStore, queryAsRoot, TimeTravellingStore } from './mysql-under-test.ts'

const never = new AbortController().signal

for (const flavour of sqlFlavours) {
  const { access } = await sharedMysql(flavour)

  describeWithServer(access !== null, `credentials for ${flavour}`, () => {
    let database: TestDatabase
    const users: string[] = []
    beforeAll(async () => {
      database = await makeDatabase(access!)
      const store = mysqlStore(database)
      await store.schema.migrate(never, () => {})
      await store.close()
    })
    afterAll(async () => {
      for (const user of users) await queryAsRoot(database, `DROP USER '${user}'@'%'`)
      await database[Symbol.asyncDispose]()
    })

    /** Makes a user, whose name it gives. */
    const makeUser = async (password: string, grants: string | null, more = ''): Promise<string> => {
      const user = `user_${randomBytes(4).toString('hex')}`
      users.push(user)
      await queryAsRoot(database, `CREATE USER '${user}'@'%' IDENTIFIED BY ${database.root.escape(password)} ${more}`)
      if (grants !== null) await queryAsRoot(database, `GRANT ${grants} ON ${database.database}.* TO '${user}'@'%'`)
      return user
    }
    const failureWith = async (options: Partial<MysqlOptions>): Promise<StoreError> => {
      const store = mysqlStore(database, options)
      try {
        return await storeFailureOf(store.write([metadataRow()], never))
      } finally {
        await store.close()
      }
    }

    test('that are wrong are fatal; the next connection takes those that were put right', async () => {
      const user = await makeUser("first one'\\", 'ALL')
      let password = new Secret('not-this-one')
      const store = mysqlStore(database, { user, password: async () => password })
      const failure = await storeFailureOf(store.write([metadataRow()], never))
      expect(failure).toMatchObject({ failure: 'fatal', reason: 'ER_ACCESS_DENIED_ERROR' })
      expect(failure.hint).toContain('mysql.passwordFile')
      password = new Secret("first one'\\")
      await store.write([metadataRow()], never)

      await queryAsRoot(database, `ALTER USER '${user}'@'%' IDENTIFIED BY 'rotated'`)
      const sessions = await queryAsRoot<{ ID: number }>(
        database,
        `SELECT ID FROM information_schema.processlist WHERE USER = '${user}'`,
      )
      expect(sessions).toHaveLength(1)
      for (const { ID } of sessions) await queryAsRoot(database, `KILL ${ID}`)
      await expect.poll(() => failureOrNull(store.write([metadataRow()], never))).toMatchObject({ failure: 'fatal' })
      password = new Secret('rotated')
      await store.write([metadataRow()], never)
      await store.close()
    })

    test('that nobody can read are fatal, and keep their cause', async () => {
      const cause = new Error('ENOENT: no such file')
      expect(await failureWith({ password: () => Promise.reject(cause) })).toMatchObject({
        failure: 'fatal',
        reason: 'PASSWORD_UNREADABLE',
        cause,
      })
    })

    test('of a user without rights are fatal, and the hint says which rights are missing', async () => {
      const nothing = await failureWith({ user: await makeUser('p', null), password: async () => new Secret('p') })
      expect(nothing).toMatchObject({ failure: 'fatal' })
      expect(nothing.reason).toMatch(/ER_(DBACCESS|ACCESS)_DENIED_ERROR/)
      expect(nothing.hint).toContain('GRANT SELECT, INSERT, UPDATE')
      const reader = await failureWith({ user: await makeUser('p', 'SELECT'), password: async () => new Secret('p') })
      expect(reader).toMatchObject({ failure: 'fatal', reason: 'ER_TABLEACCESS_DENIED_ERROR' })
      expect(reader.hint).toContain('GRANT SELECT, INSERT, UPDATE')
    })

    test('with the rights of the hint suffice for everything', async () => {
      const user = await makeUser('p', 'SELECT, INSERT, UPDATE, CREATE, ALTER, DROP, INDEX')
      await queryAsRoot(database, 'DROP TABLE message_metadata, outrigger_schema')
      const store = new TimeTravellingStore(database, { user, password: async () => new Secret('p') })
      await store.schema.migrate(never, () => {})
      const row = metadataRow({ acceptedAt: Date.now() - 30 * 86_400_000 })
      await store.maintainAt(Date.now() - 20 * 86_400_000, never)
      await store.write([row], never)
      await store.write([row], never)
      await store.maintainAt(Date.now(), never)
      expect(await store.list({ limit: 1 }, never)).toEqual([])
      await store.close()
    })

    test('of a user with one connection too many are a transient failure', async () => {
      const user = await makeUser('p', 'ALL', 'WITH MAX_USER_CONNECTIONS 1')
      const options = { user, password: async () => new Secret('p') }
      const first = mysqlStore(database, options)
      await first.write([metadataRow()], never)
      expect(await failureWith(options)).toMatchObject({ failure: 'transient' })
      await first.close()
    })
  })

  describeWithServer(access !== null && access.caFile !== null, `TLS to ${flavour}`, () => {
    let database: TestDatabase
    let ca: string
    beforeAll(async () => {
      database = await makeDatabase(access!)
      ca = await caOf(database)
    })
    afterAll(() => database[Symbol.asyncDispose]())

    const cipherWith = async (more: Partial<MysqlOptions>): Promise<string> => {
      const options = mysqlOptions(database, more)
      const connection = await MysqlConnection.open(systemClock, options, sslOptionsOf(options), never)
      const [row] = await connection.query<{ Value: string }>("SHOW SESSION STATUS LIKE 'Ssl_cipher'", {
        signal: never,
      })
      connection.close()
      return row!.Value
    }
    const failureWith = (more: Partial<MysqlOptions>): Promise<StoreError> => storeFailureOf(cipherWith(more))

    test('is used when it is asked for, and not otherwise', async () => {
      expect(await cipherWith({})).toBe('')
      expect(await cipherWith({ tls: { ca } })).not.toBe('')
    })

    test('holds the name against the certificate: of the host, its address, or the one that is given', async () => {
      expect(await cipherWith({ host: 'localhost', tls: { ca } })).not.toBe('')
      expect(await cipherWith({ host: '127.0.0.1', tls: { ca } })).not.toBe('')
      expect(await cipherWith({ tls: { ca, serverName: 'localhost' } })).not.toBe('')
    })

    test.each(['mysql.example', 'localhost.example', '127.0.0.2', '::1'])(
      'to a server whose certificate is not for %s is fatal',
      async (serverName) => {
        const failure = await failureWith({ tls: { ca, serverName } })
        expect(failure).toMatchObject({ failure: 'fatal', reason: 'HANDSHAKE_SSL_ERROR' })
        expect(failure.message).toContain("does not match certificate's altnames")
        expect(failure.cause).not.toHaveProperty('cert')
      },
    )

    test('also on the connections after the first, which take up its session', async () => {
      const options = mysqlOptions(database, { tls: { ca } })
      const ssl = sslOptionsOf(options)
      for (let i = 0; i < 3; i++) {
        const connection = await MysqlConnection.open(systemClock, options, ssl, never)
        connection.close()
      }
      const otherwise = mysqlOptions(database, { tls: { ca, serverName: 'mysql.example' } })
      const failure = await storeFailureOf(MysqlConnection.open(systemClock, otherwise, ssl, never))
      expect(failure).toMatchObject({ failure: 'fatal', reason: 'HANDSHAKE_SSL_ERROR' })
    })

    test('to a server whose certificate nobody trusted has signed is fatal', async () => {
      const failure = await failureWith({ tls: {} })
      expect(failure).toMatchObject({ failure: 'fatal', reason: 'HANDSHAKE_SSL_ERROR' })
      expect(failure.hint).toContain('mysql.tls')
    })

    test('with a client certificate opens what wants one', async () => {
      const user = `user_${randomBytes(4).toString('hex')}`
      await queryAsRoot(database, `CREATE USER '${user}'@'%' IDENTIFIED BY 'p' REQUIRE X509`)
      await queryAsRoot(database, `GRANT ALL ON ${database.database}.* TO '${user}'@'%'`)
      const as = { user, password: async () => new Secret('p') }
      const folder = dirname(access!.caFile!)
      const cert = await readFile(join(folder, 'client.pem'), 'utf8')
      const key = new Secret(await readFile(join(folder, 'client.key'), 'utf8'))
      expect(await cipherWith({ ...as, tls: { ca, cert, key } })).not.toBe('')
      expect(await failureWith({ ...as, tls: { ca } })).toMatchObject({ failure: 'fatal' })
      await queryAsRoot(database, `DROP USER '${user}'@'%'`)
    })

    test('is hinted at where the server wants it', async () => {
      await queryAsRoot(database, 'SET GLOBAL require_secure_transport = ON')
      try {
        const failure = await failureWith({})
        expect(failure).toMatchObject({ failure: 'fatal' })
        // MariaDB refuses it as if the password were wrong.
        expect(failure.hint).toContain('mysql.tls')
        expect(await cipherWith({ tls: { ca } })).not.toBe('')
      } finally {
        await queryAsRoot(database, 'SET GLOBAL require_secure_transport = OFF')
      }
    })
  })
}

function failureOrNull(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: unknown) => error,
  )
}
