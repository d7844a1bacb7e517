// Writes zip archives for tests, among them some that are wrong on purpose.
import { deflateRawSync } from 'node:zlib';

export interface TestMember {
  name: string;
  content: Buffer;
  stored?: boolean;
  /** States another unpacked size than the true one. */
  statedBytes?: number;
  /** States another method than the true one. */
  method?: number;
}

export function makeZip(
  members: readonly TestMember[],
  { comment = '', zip64 = false }: { comment?: string; zip64?: boolean } = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const member of members) {
    const name = Buffer.from(member.name);
    const packed = member.stored ? member.content : deflateRawSync(member.content);
    const method = member.method ?? (member.stored ? 0 : 8);
    const sizeBytes = member.statedBytes ?? member.content.length;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(name.length, 26);
    const extra = zip64 ? zip64Field(sizeBytes, packed.length, offset) : Buffer.alloc(0);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(zip64 ? 0xffffffff : packed.length, 20);
    central.writeUInt32LE(zip64 ? 0xffffffff : sizeBytes, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt16LE(extra.length, 30);
    central.writeUInt32LE(zip64 ? 0xffffffff : offset, 42);
    parts.push(local, name, packed);
    directory.push(central, name, extra);
    offset += local.length + name.length + packed.length;
  }
  const entries = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(zip64 ? 0xffff : members.length, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : entries.length, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : offset, 16);
  end.writeUInt16LE(comment.length, 20);
  const wide = zip64 ? zip64End(members.length, entries.length, offset) : Buffer.alloc(0);
  return Buffer.concat([...parts, entries, wide, end, Buffer.from(comment)]);
}

function zip64Field(sizeBytes: number, packedBytes: number, offset: number): Buffer {
  const field = Buffer.alloc(28);
  field.writeUInt16LE(1, 0);
  field.writeUInt16LE(24, 2);
  field.writeBigUInt64LE(BigInt(sizeBytes), 4);
  field.writeBigUInt64LE(BigInt(packedBytes), 12);
  field.writeBigUInt64LE(BigInt(offset), 20);
  return field;
}

function zip64End(count: number, directoryBytes: number, offset: number): Buffer {
  const bytes = Buffer.alloc(76);
  bytes.writeUInt32LE(0x06064b50, 0);
  bytes.writeBigUInt64LE(44n, 4);
  bytes.writeBigUInt64LE(BigInt(count), 32);
  bytes.writeBigUInt64LE(BigInt(directoryBytes), 40);
  bytes.writeBigUInt64LE(BigInt(offset), 48);
  bytes.writeUInt32LE(0x07064b50, 56);
  bytes.writeBigUInt64LE(BigInt(offset + directoryBytes), 64);
  return bytes;
}
