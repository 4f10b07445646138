'use strict'

// A plugin of the team's: a table, a route that queues a job, and the job, which writes a row.
const { Body, Controller, Get, HttpCode, Injectable, Post } = require('@nestjs/common')
const { EntitySchema } = require('typeorm')
const { JobQueueService, PluginCommonModule, TransactionalConnection, VendurePlugin } = require('@vendure/core')

class Note {}

const table = new EntitySchema({
  name: 'Note',
  target: Note,
  tableName: 'note',
  columns: {
    number: { type: 'int', primary: true, generated: true },
    name: { type: 'text' },
    release: { type: 'text' },
    done: { type: 'boolean', default: false }
  }
})

const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000))

class Notes {
  constructor (queues, connection) {
    Object.assign(this, { queues, connection })
  }

  async onModuleInit () {
    this.queue = await this.queues.createQueue({ name: 'note', process: job => this.write(job.data) })
  }

  query (text, values) {
    return this.connection.rawConnection.query(text, values)
  }

  async write ({ name, seconds }) {
    const begun = 'INSERT INTO note (name, release) VALUES ($1, $2) RETURNING number'
    const [{ number }] = await this.query(begun, [name, process.env.TURNOUT_RELEASE])
    await sleep(seconds)
    await this.query('UPDATE note SET done = true WHERE number = $1', [number])
  }
}
Injectable()(Notes)
Reflect.defineMetadata('design:paramtypes', [JobQueueService, TransactionalConnection], Notes)

class Routes {
  constructor (notes) {
    this.notes = notes
  }

  async add ({ name, seconds = 0, wait = 0 }) {
    await sleep(wait)
    await this.notes.queue.add({ name, seconds }, { retries: 5 })
    return { name }
  }

  async list () {
    return this.notes.query('SELECT name, done FROM note ORDER BY number DESC LIMIT $1', [process.env.NOTES_SHOWN || 20])
  }
}
const route = name => [Routes.prototype, name, Object.getOwnPropertyDescriptor(Routes.prototype, name)]
Controller('notes')(Routes)
Post()(...route('add'))
HttpCode(202)(...route('add'))
Body()(Routes.prototype, 'add', 0)
Get()(...route('list'))
Reflect.defineMetadata('design:paramtypes', [Notes], Routes)

class NotesPlugin {}
VendurePlugin({
  imports: [PluginCommonModule],
  providers: [Notes],
  controllers: [Routes],
  entities: [table],
  compatibility: '^3.0.0'
})(NotesPlugin)

exports.NotesPlugin = NotesPlugin
