'use strict'

const { DefaultLogger, LogLevel } = require('@vendure/core')
const { BullMQJobQueuePlugin } = require('@vendure/job-queue-plugin/package/bullmq')
const { NotesPlugin } = require('./notes')

// Says in each answer which release and color it came from.
const tell = (request, response, next) => {
  response.setHeader('X-Release', process.env.TURNOUT_RELEASE)
  response.setHeader('X-Turnout-Color', process.env.TURNOUT_COLOR)
  next()
}

const at = new URL(process.env.REDIS_URL)

exports.config = {
  apiOptions: {
    port: Number(process.env.PORT),
    hostname: '0.0.0.0',
    trustProxy: 1,
    middleware: [{ route: '/', handler: tell, beforeListen: true }],
    adminApiPath: 'admin-api',
    shopApiPath: 'shop-api'
  },
  authOptions: {
    tokenMethod: 'bearer',
    superadminCredentials: { identifier: 'admin', password: process.env.ADMIN_PASSWORD }
  },
  dbConnectionOptions: {
    type: 'postgres',
    url: process.env.DATABASE_URL,
    synchronize: false,
    migrations: [`${__dirname}/migrations/*.js`]
  },
  importExportOptions: { importAssetsDir: '/tmp' },
  logger: new DefaultLogger({ level: LogLevel.Info, timestamp: false }),
  // GET /health without a question to the database.
  systemOptions: { healthChecks: [] },
  plugins: [
    BullMQJobQueuePlugin.init({
      connection: {
        host: at.hostname,
        port: Number(at.port),
        username: at.username,
        password: decodeURIComponent(at.password),
        maxRetriesPerRequest: null
      }
    }),
    NotesPlugin
  ]
}
