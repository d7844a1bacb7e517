// Takes one member out of a zip archive (a wheel is one) without reading the rest.
// Refuses what a wheel never has: encryption, several disks, methods other than stored and deflate.
import { createReadStream, createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { PassThrough, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { failure } from './failure.mjs';

const endSignature = 0x06054b50;
const end64Signature = 0x06064b50;
const locator64Signature = 0x07064b50;
const memberSignature = 0x02014b50;
const localSignature = 0x04034b50;
const directoryLimitBytes = 64 << 20;

/**
 * @typedef {object} ZipMember
 * @property {string} name
 * @property {number} method 0 stored, 8 deflate
 * @property {number} packedBytes
 * @property {number} sizeBytes unpacked
 * @property {number} offset of the local header
 */

/** @param {string} path @param {string} what */
const damaged = (path, what) =>
  failure(
    'model/bad-zip',
    `${path} is not a readable zip archive: ${what}.`,
    'Delete the file and start again; it will be fetched anew.',
  );

/**
 * The members of an archive, from its central directory. Throws `model/bad-zip`.
 * Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.12 to 4.3.16.
 *
 * @param {string} path
 * @returns {Promise<ZipMember[]>}
 */
export async function listZip(path) {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    /** @param {number} offset @param {number} length */
    const read = async (offset, length) => {
      if (offset < 0 || length < 0 || offset + length > size)
        throw damaged(path, `bytes ${offset} to ${offset + length} of ${size} are missing`);
      const bytes = Buffer.alloc(length);
      await file.read(bytes, 0, length, offset);
      return bytes;
    };
    const { offset, length, count } = await findDirectory(path, size, read);
    if (length > directoryLimitBytes) throw damaged(path, `a directory of ${length} bytes`);
    return parseDirectory(path, await read(offset, length), count);
  } finally {
    await file.close();
  }
}

/**
 * @param {string} path
 * @param {number} size
 * @param {(offset: number, length: number) => Promise<Buffer>} read
 */
async function findDirectory(path, size, read) {
  const tailStart = Math.max(0, size - 22 - 0xffff);
  const tail = await read(tailStart, size - tailStart);
  let at = tail.length - 22;
  while (at >= 0 && tail.readUInt32LE(at) !== endSignature) at--;
  if (at < 0) throw damaged(path, 'no end-of-directory record');
  const found = {
    count: tail.readUInt16LE(at + 10),
    length: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
  };
  if (found.count !== 0xffff && found.length !== 0xffffffff && found.offset !== 0xffffffff)
    return found;
  const locator = await read(tailStart + at - 20, 20);
  if (locator.readUInt32LE(0) !== locator64Signature) throw damaged(path, 'no zip64 locator');
  const end64 = await read(number64(path, locator, 8), 56);
  if (end64.readUInt32LE(0) !== end64Signature) throw damaged(path, 'no zip64 record');
  return {
    count: number64(path, end64, 32),
    length: number64(path, end64, 40),
    offset: number64(path, end64, 48),
  };
}

/**
 * @param {string} path
 * @param {Buffer} bytes
 * @param {number} at
 */
function number64(path, bytes, at) {
  if (at + 8 > bytes.length) throw damaged(path, 'a zip64 field is cut short');
  const value = Number(bytes.readBigUInt64LE(at));
  if (!Number.isSafeInteger(value)) throw damaged(path, `a size of ${value}`);
  return value;
}

/**
 * @param {string} path
 * @param {Buffer} bytes
 * @param {number} count
 */
function parseDirectory(path, bytes, count) {
  /** @type {ZipMember[]} */
  const members = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== memberSignature)
      throw damaged(path, `directory entry ${index + 1} of ${count} is missing`);
    const nameEnd = at + 46 + bytes.readUInt16LE(at + 28);
    const next = nameEnd + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    if (next > bytes.length) throw damaged(path, `directory entry ${index + 1} is cut short`);
    const member = {
      name: bytes.toString('utf8', at + 46, nameEnd),
      method: bytes.readUInt16LE(at + 10),
      packedBytes: bytes.readUInt32LE(at + 20),
      sizeBytes: bytes.readUInt32LE(at + 24),
      offset: bytes.readUInt32LE(at + 42),
    };
    const extraEnd = nameEnd + bytes.readUInt16LE(at + 30);
    widen(path, member, bytes.subarray(nameEnd, extraEnd));
    if (bytes.readUInt16LE(at + 8) & 1) member.method = -1;
    members.push(member);
    at = next;
  }
  return members;
}

/**
 * Replaces the 32-bit fields that say "see the zip64 extra field".
 *
 * @param {string} path
 * @param {ZipMember} member
 * @param {Buffer} extra
 */
function widen(path, member, extra) {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue;
    let field = at + 4;
    for (const key of /** @type {const} */ (['sizeBytes', 'packedBytes', 'offset'])) {
      if (member[key] !== 0xffffffff) continue;
      member[key] = number64(path, extra, field);
      field += 8;
    }
  }
}

/**
 * Writes one member to `destination`, and throws `model/bad-zip` when the archive is damaged,
 * the member missing, or its size not the one stated.
 *
 * @param {string} path of the archive
 * @param {ZipMember} member
 * @param {string} destination
 * @param {(unpackedBytes: number) => void} [onProgress]
 * @returns {Promise<void>}
 */
export async function extractMember(path, member, destination, onProgress) {
  if (member.method !== 0 && member.method !== 8)
    throw damaged(path, `${member.name} is encrypted or packed by method ${member.method}`);
  const start = await dataStart(path, member);
  let unpacked = 0;
  const count = new Transform({
    transform(chunk, _encoding, done) {
      unpacked += chunk.length;
      onProgress?.(unpacked);
      // A small archive must not unpack to a full disk.
      const over = unpacked > member.sizeBytes;
      done(over ? damaged(path, `${member.name} is larger than stated`) : null, chunk);
    },
  });
  const source = createReadStream(path, { start, end: start + member.packedBytes - 1 });
  const unpack = member.method === 8 ? createInflateRaw() : new PassThrough();
  try {
    await pipeline(source, unpack, count, createWriteStream(destination));
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code?.startsWith('Z_'))
      throw damaged(path, `${member.name}: ${/** @type {Error} */ (error).message}`);
    throw error;
  }
  if (unpacked !== member.sizeBytes)
    throw damaged(path, `${member.name} has ${unpacked} bytes instead of ${member.sizeBytes}`);
}

/**
 * @param {string} path
 * @param {ZipMember} member
 */
async function dataStart(path, member) {
  const file = await open(path, 'r');
  try {
    const header = Buffer.alloc(30);
    const { bytesRead } = await file.read(header, 0, 30, member.offset);
    if (bytesRead < 30 || header.readUInt32LE(0) !== localSignature)
      throw damaged(path, `${member.name} has no local header`);
    const start = member.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
    if (start + member.packedBytes > (await file.stat()).size)
      throw damaged(path, `${member.name} is cut short`);
    return start;
  } finally {
    await file.close();
  }
}
