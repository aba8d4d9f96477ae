import { generateKeyPairSync } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './command.ts'

/** Paths of PEM files. The keys protect nothing but test servers on this machine, and are readable by all. */
export interface Certificates {
  readonly caFile: string
  /** For localhost and 127.0.0.1; EC P-256, PKCS#8. */
  readonly serverCertFile: string
  readonly serverKeyFile: string
  /** Key, certificate and CA in one file, as Kafka and Cassandra want it. */
  readonly serverKeystoreFile: string
  /** The same as RSA with a PKCS#1 key: old MySQL's OpenSSL knows nothing else. */
  readonly serverRsaCertFile: string
  readonly serverRsaKeyFile: string
  readonly clientCertFile: string
  readonly clientKeyFile: string
}

/** Makes a certificate authority of its own, and a server's and a client's certificate signed by it. */
export async function createCertificates(directory: string): Promise<Certificates> {
  await mkdir(directory, { recursive: true, mode: 0o755 })
  const path = (name: string): string => join(directory, name)
  const caKeyFile = path('ca.key')
  const caFile = path('ca.pem')
  await writeFile(caKeyFile, ecKey())
  const ca = ['req', '-x509', '-new', '-key', caKeyFile, '-days', '3650', '-subj', '/CN=outrigger-test-ca']
  await run('openssl', [...ca, '-out', caFile])
  await writeFile(
    path('extensions'),
    'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n',
  )
  const sign = async (name: string, key: string): Promise<string> => {
    await writeFile(path(`${name}.key`), key)
    await run('openssl', [
      'req',
      '-new',
      '-key',
      path(`${name}.key`),
      '-subj',
      `/CN=${name}`,
      '-out',
      path(`${name}.csr`),
    ])
    // A serial number of its own each: clients may refuse two certificates of one issuer with the same one.
    const serial = `0x${Buffer.from(name).toString('hex')}`
    const request = ['x509', '-req', '-in', path(`${name}.csr`), '-days', '3650', '-extfile', path('extensions')]
    const issuer = ['-CA', caFile, '-CAkey', caKeyFile, '-set_serial', serial]
    const { stdout } = await run('openssl', [...request, ...issuer])
    await writeFile(path(`${name}.pem`), stdout)
    return stdout
  }
  const serverKey = ecKey()
  const [serverCert] = await Promise.all([
    sign('server', serverKey),
    sign('server-rsa', rsaKey()),
    sign('client', ecKey()),
  ])
  await writeFile(path('server-keystore.pem'), `${serverKey}${serverCert}${await readFile(caFile, 'utf8')}`)
  return {
    caFile,
    serverCertFile: path('server.pem'),
    serverKeyFile: path('server.key'),
    serverKeystoreFile: path('server-keystore.pem'),
    serverRsaCertFile: path('server-rsa.pem'),
    serverRsaKeyFile: path('server-rsa.key'),
    clientCertFile: path('client.pem'),
    clientKeyFile: path('client.key'),
  }
}

function ecKey(): string {
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  return privateKey
}

function rsaKey(): string {
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  return privateKey
}
