// A queue and a worker of BullMQ for the tests of dead letters.
//
//   node shop.js fill PORT COUNT   put COUNT jobs of two names into the queue "mails"
//   node shop.js work PORT         work at them until it is told to stop
//
// A job fails until the key "mended" is there. Each one that was done is counted in the hash "effects".
const { Queue, Worker } = require('bullmq')
const Redis = require('ioredis')

const [what, port, count] = process.argv.slice(2)
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null }

async function fill () {
  const queue = new Queue('mails', { connection })
  const jobs = Array.from({ length: Number(count) }, (_, number) => ({
    name: number % 5 ? 'send' : 'push',
    data: { to: `user${number}@example.org`, token: 'canary-4711' },
    opts: { jobId: `t${number}`, attempts: 1 }
  }))
  await queue.addBulk(jobs)
  await queue.close()
}

async function work () {
  const own = new Redis(connection)
  const worker = new Worker('mails', async job => {
    if (!await own.exists('mended')) throw new Error(`mailbox of '${job.data.to}' refused`)
    await own.hincrby('effects', job.id, 1)
  }, { connection, concurrency: 8 })
  worker.on('error', error => console.error(error.message))
}

(what === 'fill' ? fill() : work()).catch(error => { console.error(error.message); process.exit(1) })
