'use strict'

const { DataSource } = require('typeorm')
const { preBootstrapConfig } = require('@vendure/core')
const { config } = require('./config')
exports.source = preBootstrapConfig(config).then(whole => new DataSource(whole.dbConnectionOptions))
