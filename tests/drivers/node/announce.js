// Says out of band which request an application runs when; the Node twin of python/announce.py.
"use strict";

const fs = require("node:fs");
const { Client } = require("pg");

const DATABASE_URL = process.env.DATABASE_URL;
const SHORT_PAUSE_MS = 20;
// More than pgtally's idle gap of 100 ms.
const LONG_PAUSE_MS = 250;

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
// `Date.now` has no more than milliseconds.
const now = () => (performance.timeOrigin + performance.now()) / 1000;

class Announcer {
  constructor() {
    this.number = 0;
    this.isPaused = process.env.DRIVERS_PAUSE !== "0";
    this.marker = new Client({
      connectionString: process.env.MARKER_URL,
      application_name: "pgtally-drivers-marker",
    });
  }

  async open() {
    await this.marker.connect();
    return this;
  }

  // Runs `body` as one request; `expected` goes to the runner as it is.
  async request(page, expected, body) {
    this.number += 1;
    const number = this.number;
    await this.marker.query(`SELECT 'begin ${number}'`);
    const start = now();
    await body(number);
    const end = now();
    await this.marker.query(`SELECT 'end ${number}'`);
    fs.appendFileSync(
      process.env.DRIVERS_ANNOUNCE,
      JSON.stringify({ number, page, start, end, ...expected }) + "\n",
    );
    if (this.isPaused) await sleep(expected.needs_gap ? LONG_PAUSE_MS : SHORT_PAUSE_MS);
  }

  close() {
    return this.marker.end();
  }
}

const traceId = (number) => (0xabcdef00 + number).toString(16).padStart(32, "0");

// A comment as the sqlcommenter libraries write it.
const comment = (number, route) =>
  `/*route='${encodeURIComponent(route)}',traceparent='00-${traceId(number)}-00000000000000ab-01'*/`;

module.exports = { Announcer, DATABASE_URL, comment, traceId };
