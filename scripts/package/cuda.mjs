// What must be true of the packaged CUDA backend, on a machine with or without a GPU.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { capture } from '../lib.mjs';

/** Compute capabilities with machine code of their own: 8.6 and 8.9 run that of 8.0, others from that of the PTX on compile it. */
const ARCHITECTURES = [80, 90, 100, 120];
const PTX = 90;

const FATBIN_MAGIC = 0xba55ed50;
const KINDS = { 1: 'PTX', 2: 'machine code' };

/**
 * Parts of the fat binaries in a library, as in nvcc's fatbinary_section.h: a header of 16 bytes with the length of what
 * follows, then parts with headers of their own that tell kind, length and compute capability.
 * @returns {string[]} such as 'machine code 90'
 */
function fatbinParts(library) {
  const sections = capture('readelf', ['-SW', library]).stdout;
  const found = /\.nv_fatbin\s+\w+\s+\w+\s+(\w+)\s+(\w+)/.exec(sections);
  if (found === null) return [];
  const start = parseInt(found[1], 16);
  const bytes = readFileSync(library).subarray(start, start + parseInt(found[2], 16));
  const parts = new Set();
  let at = 0;
  while (at + 16 <= bytes.length) {
    if (bytes.readUInt32LE(at) !== FATBIN_MAGIC) {
      at += 8;
      continue;
    }
    const end = at + bytes.readUInt16LE(at + 6) + Number(bytes.readBigUInt64LE(at + 8));
    at += bytes.readUInt16LE(at + 6);
    while (at < end) {
      parts.add(`${KINDS[bytes.readUInt16LE(at)]} ${bytes.readUInt32LE(at + 28)}`);
      at += bytes.readUInt32LE(at + 4) + Number(bytes.readBigUInt64LE(at + 8));
    }
  }
  return [...parts];
}

/** It must load without a driver, and refuse a foreign interface and an absent device in words. */
function refusalProblems(library) {
  const asked = capture('python3', [path.join(import.meta.dirname, 'refusals.py'), library]);
  const polite = /^interface: .+ has interface .+\ndevice: .+\n$/.test(asked.stdout);
  return polite ? [] : [`the CUDA backend does not refuse politely: ${asked.stdout}${asked.stderr}`];
}

/**
 * @param {string} library liblq_cuda.so
 * @returns {string[]} what is not right
 */
export function cudaProblems(library) {
  const wanted = [...ARCHITECTURES.map(each => `machine code ${each}`), `PTX ${PTX}`];
  const parts = fatbinParts(library);
  return [
    ...wanted.filter(part => !parts.includes(part)).map(part => `the CUDA backend has no ${part}`),
    ...refusalProblems(library),
  ];
}
