import { expect, test } from 'vitest'
import { AdminRig } from './admin-rig.ts'

test('/livez and /readyz say 200 when there is nothing in the way', async () => {
  await using rig = await AdminRig.start()
  expect(await rig.get('/livez')).toMatchObject({ status: 200, body: Buffer.from('ok\n') })
  expect(await rig.get('/readyz')).toMatchObject({ status: 200, body: Buffer.from('ready\n') })
})

test('/livez says 503 with the reason when only a restart helps, and leaves /readyz alone', async () => {
  await using rig = await AdminRig.start()
  rig.obstacles.alive.push('the delivering thread has not answered for 31 s')
  const { status, body } = await rig.get('/livez')
  expect([status, body.toString()]).toEqual([503, 'the delivering thread has not answered for 31 s\n'])
  expect((await rig.get('/readyz')).status).toBe(200)
})

test('/readyz says 503 with each reason, and leaves /livez alone', async () => {
  await using rig = await AdminRig.start()
  rig.obstacles.ready.push('the journal can’t be written: ENOSPC', 'draining: no messages are accepted')
  const { status, body } = await rig.get('/readyz')
  expect([status, body.toString()]).toEqual([
    503,
    'the journal can’t be written: ENOSPC\ndraining: no messages are accepted\n',
  ])
  expect((await rig.get('/livez')).status).toBe(200)
})
