import { describeWithServer } from '../../stack/describe-with-server.ts'
import { describeMetadataStoreContract } from '../../recorder/metadata-store-contract.ts'
import { makeDatabase, sharedMysql, sqlFlavours } from '../../stack/require-mysql.ts'
import { mysqlStore } from './mysql-under-test.ts'

for (const flavour of sqlFlavours) {
  const { access } = await sharedMysql(flavour)

  describeWithServer(access !== null, `real ${flavour}`, () => {
    describeMetadataStoreContract(`the store on ${flavour}`, async () => {
      const database = await makeDatabase(access!)
      const store = mysqlStore(database)
      return {
        store,
        another: () => mysqlStore(database),
        close: async () => {
          await store.close()
          await database[Symbol.asyncDispose]()
        },
      }
    })
  })
}
