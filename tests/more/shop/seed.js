'use strict'

// What Vendure writes into an empty database when it starts, by one process alone.
const { bootstrap } = require('@vendure/core')
const { config } = require('./config')

bootstrap({ ...config, apiOptions: { ...config.apiOptions, port: 0, hostname: '127.0.0.1' } })
  .then(app => app.close())
  .then(() => process.exit(0))
  .catch(error => { console.error(error); process.exit(1) })
