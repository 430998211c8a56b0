//! Where a buffer's keys and values lie: one behind the other, in chunks.
//!
//! Memory of its own for each key and value costs more than what is written there, and gives the
//! rows of a moment to all corners of memory. Here rows that came together lie together, which for
//! rows that expire means that they go together too. Invariant: a chunk is given back when nothing
//! in it is in use any more, and one of which little is in use is worth being emptied.

/// How large a chunk grows before the next one is begun; a single row may be larger.
const CHUNK_BYTES: usize = 64 << 10;
/// A chunk with less waste than this is left alone.
const WASTE_MIN: usize = 1 << 10;

/// Where a row's key begins. Its value lies behind it.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) chunk: u32,
    start: u32,
}

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// The rows that were put here, some of which may have gone elsewhere.
    rows: Vec<u32>,
    /// Those of them that are here still, and the bytes of the others.
    used: usize,
    waste: usize,
    /// No row here expires later; `None` where none ever does.
    latest: Option<[u8; 8]>,
}

/// The chunks of a column.
#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    /// The one that grows.
    open: Option<u32>,
    bytes: usize,
}

impl Arena {
    /// How many bytes are held, with what is wasted and what is free.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in a row, and says when it expires, if it does, with room for a value that may grow.
    pub(super) fn push(
        &mut self,
        row: u32,
        (key, value): (&[u8], &[u8]),
        room: usize,
        expires: Option<[u8; 8]>,
    ) -> Spot {
        let size = key.len() + room;
        let number = self.chunk_for(size);
        let chunk = &mut self.chunks[number as usize];
        let (start, capacity) = (chunk.bytes.len(), chunk.bytes.capacity());
        chunk.bytes.extend_from_slice(key);
        chunk.bytes.extend_from_slice(value);
        chunk.bytes.resize(start + size, 0);
        chunk.rows.push(row);
        chunk.used += 1;
        chunk.latest = chunk.latest.max(expires);
        self.bytes += chunk.bytes.capacity() - capacity;
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        Spot {
            chunk: number,
            start,
        }
    }

    /// So many bytes behind the beginning of a row.
    #[inline]
    pub(super) fn get(&self, at: Spot, from: usize, length: usize) -> &[u8] {
        let start = at.start as usize + from;
        &self.chunks[at.chunk as usize].bytes[start..start + length]
    }

    /// The first byte of a row, or whatever lies behind an empty one.
    pub(super) fn glance(&self, at: Spot) -> u8 {
        let bytes = &self.chunks[at.chunk as usize].bytes;
        bytes.get(at.start as usize).copied().unwrap_or_default()
    }

    /// Writes over bytes behind the beginning of a row.
    pub(super) fn set(&mut self, at: Spot, from: usize, value: &[u8]) {
        let start = at.start as usize + from;
        self.chunks[at.chunk as usize].bytes[start..start + value.len()].copy_from_slice(value);
    }

    /// A row of that size is no longer there. `true` where the chunk is worth being emptied.
    pub(super) fn leave(&mut self, at: Spot, size: usize) -> bool {
        let chunk = &mut self.chunks[at.chunk as usize];
        chunk.used -= 1;
        chunk.waste += size;
        if chunk.used == 0 {
            self.release(at.chunk);
            return false;
        }
        chunk.waste >= WASTE_MIN && chunk.waste > chunk.bytes.len() / 4 * 3
    }

    /// The rows of a chunk that is to be emptied, some of which may be elsewhere. It is given back
    /// when the last one has left it.
    pub(super) fn empty(&mut self, chunk: u32) -> Vec<u32> {
        if self.open == Some(chunk) {
            self.open = None;
        }
        std::mem::take(&mut self.chunks[chunk as usize].rows)
    }

    /// The chunks whose rows have all expired by that time, but for those that never do.
    pub(super) fn expired(&self, until: [u8; 8]) -> Vec<u32> {
        let has_expired = |chunk: &Chunk| chunk.latest.is_some_and(|latest| latest <= until);
        let chunks = (0..).zip(&self.chunks);
        let expired = chunks.filter(|(_, chunk)| has_expired(chunk));
        expired.map(|(number, _)| number).collect()
    }

    fn chunk_for(&mut self, size: usize) -> u32 {
        if let Some(open) = self.open {
            let bytes = self.chunks[open as usize].bytes.len();
            if bytes + size <= CHUNK_BYTES || bytes == 0 {
                return open;
            }
        }
        // The first one grows as it is filled: there are columns with ten rows.
        let capacity = self.open.map_or(0, |_| CHUNK_BYTES.max(size));
        let chunk = Chunk {
            bytes: Vec::with_capacity(capacity),
            ..Chunk::default()
        };
        self.bytes += chunk.bytes.capacity();
        let number = if let Some(number) = self.free.pop() {
            self.chunks[number as usize] = chunk;
            number
        } else {
            self.chunks.push(chunk);
            u32::try_from(self.chunks.len() - 1).unwrap_or(u32::MAX)
        };
        self.open = Some(number);
        number
    }

    fn release(&mut self, number: u32) {
        let chunk = std::mem::take(&mut self.chunks[number as usize]);
        self.bytes -= chunk.bytes.capacity();
        if self.open == Some(number) {
            self.open = None;
        }
        self.free.push(number);
    }
}
