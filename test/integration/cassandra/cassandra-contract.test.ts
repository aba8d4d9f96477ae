import { describeWithServer } from '../../stack/describe-with-server.ts'
import { Client } from 'cassandra-driver'
import { describeMessageLogContract } from '../../recorder/message-log-contract.ts'
import { sharedCassandra } from '../../stack/shared-cassandra.ts'
import { logOptions, openLog } from './cassandra-test-log.ts'

const { access } = await sharedCassandra()

describeWithServer(access !== null, 'real Cassandra', () => {
  describeMessageLogContract('CassandraMessageLog', async () => {
    if (access === null) throw new Error('unreachable: the suite is skipped')
    const options = logOptions(access)
    const log = openLog(options)
    return {
      log,
      another: () => openLog(options),
      close: async () => {
        await log.close()
        const { localDataCenter } = options
        const client = new Client({ contactPoints: [...options.contactPoints], localDataCenter })
        await client.execute(`DROP KEYSPACE IF EXISTS ${options.keyspace}`)
        await client.shutdown()
      },
    }
  })
})
