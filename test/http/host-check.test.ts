import { describe, expect, test } from 'vitest'
import { anyHostCheck, isLoopback, loopbackHostCheck } from '../../src/http/host-check.ts'

describe('a listener on loopback', () => {
  const check = loopbackHostCheck('127.0.0.1', ['App.test', '::2'])

  test.each(['localhost', 'localhost:4110', 'LocalHost', '127.0.0.1', '127.255.0.9:1', '[::1]', '[::1]:4110', 'app.test:9', '[::2]', 'localhost:'])(
    'serves %s',
    (host) => expect(check.allowsHost(host)).toBe(true),
  ) // prettier-ignore

  test.each(['', 'evil.test', 'localhost.evil.test', 'evil-localhost', '127.0.0.1.evil.test', '127.1', '0x7f.0.0.1', '2130706433', '10.0.0.1', '[::3]', '::1', 'localhost:port', 'localhost:1:2', 'a@localhost', 'localhost/', '[::1', '[::1]x'])(
    'does not serve %s',
    (host) => expect(check.allowsHost(host)).toBe(false),
  ) // prettier-ignore

  test.each(['http://localhost:3000', 'https://127.0.0.1', 'http://[::1]:5', 'http://app.test'])(
    'lets pages of %s in',
    (origin) => expect(check.allowsOrigin(origin, 'localhost')).toBe(true),
  )

  test.each(['null', '', 'http://evil.test', 'http://localhost@evil.test', 'http://evil.test/localhost', 'file://localhost', 'chrome-extension://localhost', 'http://localhost http://localhost', 'http://localhost#.evil.test'])(
    'does not let pages of %s in',
    (origin) => expect(check.allowsOrigin(origin, 'localhost')).toBe(false),
  ) // prettier-ignore
})

test('a listener on ::1 serves its own address', () => {
  expect(loopbackHostCheck('::1', []).allowsHost('[::1]:80')).toBe(true)
})

test('a listener that others reach serves any host, and lets in pages of the same one', () => {
  expect(anyHostCheck.allowsHost('anything')).toBe(true)
  expect(anyHostCheck.allowsOrigin('http://Pod.test:4111', 'pod.test:4111')).toBe(true)
  expect(anyHostCheck.allowsOrigin('http://pod.test:1', 'pod.test:2')).toBe(false)
  expect(anyHostCheck.allowsOrigin('null', 'pod.test')).toBe(false)
})

test('loopback is told from what others can reach', () => {
  expect(['localhost', '127.0.0.1', '127.4.5.6', '::1'].filter((host) => !isLoopback(host))).toEqual([])
  expect(['0.0.0.0', '::', '10.0.0.1', 'localhost.test', '127.evil.test'].filter(isLoopback)).toEqual([])
})
