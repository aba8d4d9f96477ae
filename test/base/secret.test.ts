import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { concealSecrets, revealSecrets, Secret } from '../../src/base/secret.ts'

const secret = new Secret('hunter2')

test('a secret shows in no way of printing', () => {
  const held = { password: secret, list: [secret] }
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify(held),
    inspect(held, { depth: 9, showHidden: true }),
    inspect(secret),
    Object.values(secret).join(),
    JSON.stringify(structuredClone(held)),
  ]
  expect(shown.join('\n')).not.toContain('hunter2')
  expect(shown[0]).toBe('[secret]')
  expect(secret.reveal()).toBe('hunter2')
})

test('secrets survive the way to another thread when they are revealed and concealed again', () => {
  const config = { sasl: { password: secret, username: 'u' }, tls: undefined, brokers: ['a', 'b'], ports: [1, 2] }
  const arrived = concealSecrets<typeof config>(structuredClone(revealSecrets(config)))
  expect(arrived.sasl.password).toBeInstanceOf(Secret)
  expect(arrived.sasl.password.reveal()).toBe('hunter2')
  expect({ ...arrived, sasl: arrived.sasl.username }).toEqual({ ...config, sasl: 'u' })
})
