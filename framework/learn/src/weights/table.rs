//! The flat table of a hashed model's numbers, which knows what changed since the last commit.
//!
//! Invariant: playing back the undo list gives the bits of the last applied commit. A row is saved
//! there when it is first touched after a hand-over, so that the list doubles as the list of what
//! must be written, and costs one bit test per touch afterwards.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The largest row: two numbers for each class.
const WIDTH_MAX: usize = 2 * crate::linear::CLASSES_MAX;

/// So many rows are copied before they are looked at: copies wait for memory side by side.
const GATHER: usize = 64;

/// Rows of equal width, `f32`, all zero in the beginning.
///
/// A learner reads with [`Table::row`] and writes through [`Table::row_mut`]; a store of weights
/// turns [tracking](Table::track) on and asks what was written.
pub struct Table {
    rows: usize,
    width: usize,
    values: Vec<f32>,
    /// Whether a store wants to know what changes.
    tracking: bool,
    /// One bit per row: touched since the last hand-over.
    touched: Vec<u64>,
    /// The rows touched since the last applied commit, a row once per hand-over, in order of time.
    undo_rows: Vec<u32>,
    undo_values: Vec<f32>,
    /// How many of these were handed over and wait for the commit's outcome.
    handed_over: usize,
    /// The sum of the rows' hashes as of the last hand-over.
    fingerprint: u64,
    /// The same sum as of the last applied commit.
    committed_fingerprint: u64,
}

impl Table {
    /// A table of zeros; the width is at most two numbers per class.
    pub fn new(rows: usize, width: usize) -> Self {
        let width = width.clamp(1, WIDTH_MAX);
        Self {
            rows,
            width,
            values: vec![0.0; rows * width],
            tracking: false,
            touched: Vec::new(),
            undo_rows: Vec::new(),
            undo_values: Vec::new(),
            handed_over: 0,
            fingerprint: 0,
            committed_fingerprint: 0,
        }
    }

    /// How many rows there are.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many numbers a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The numbers of a row.
    ///
    /// # Panics
    /// Where the row is not below [`Table::rows`], as slices do.
    #[inline]
    pub fn row(&self, row: u32) -> &[f32] {
        let start = row as usize * self.width;
        &self.values[start..start + self.width]
    }

    /// The numbers of a row, to be changed.
    ///
    /// # Panics
    /// Where the row is not below [`Table::rows`], as slices do.
    #[inline]
    pub fn row_mut(&mut self, row: u32) -> &mut [f32] {
        if self.tracking {
            self.save(row);
        }
        let start = row as usize * self.width;
        &mut self.values[start..start + self.width]
    }

    #[inline]
    fn save(&mut self, row: u32) {
        let (word, bit) = (row as usize / 64, 1 << (row % 64));
        if self.touched[word] & bit == 0 {
            self.touched[word] |= bit;
            self.undo_rows.push(row);
            let start = row as usize * self.width;
            let old = &self.values[start..start + self.width];
            self.undo_values.extend_from_slice(old);
        }
    }

    /// Begins to remember what changes; what the table holds now counts as committed.
    pub fn track(&mut self) {
        self.tracking = true;
        self.touched = vec![0; self.rows().div_ceil(64)];
        self.undo_rows.clear();
        self.undo_values.clear();
        self.handed_over = 0;
        self.fingerprint = self.recomputed_fingerprint();
        self.committed_fingerprint = self.fingerprint;
    }

    /// How many rows changed since the last hand-over.
    pub fn dirty_rows(&self) -> usize {
        self.undo_rows.len() - self.handed_over
    }

    /// Visits the rows changed since the last hand-over, lowest first, and hands them over.
    pub(super) fn hand_over(&mut self, mut visit: impl FnMut(u32, &[f32])) {
        // The old values lie in the undo list in order, the new ones are visited in order below: so
        // the fingerprint costs no jump through the table of its own.
        let old = self.undo_values[self.handed_over * self.width..].chunks_exact(self.width);
        let mut sum = self.undo_rows[self.handed_over..]
            .iter()
            .zip(old)
            .fold(self.fingerprint, |sum, (row, old)| {
                sum.wrapping_sub(row_hash(*row, old))
            });
        let (mut rows, mut values) = (Vec::with_capacity(GATHER), Vec::new());
        for word in 0..self.touched.len() {
            let mut bits = std::mem::take(&mut self.touched[word]);
            while bits != 0 {
                #[expect(clippy::cast_possible_truncation, reason = "learners index by u32")]
                rows.push(word as u32 * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
            if rows.len() < GATHER && word + 1 < self.touched.len() {
                continue;
            }
            for row in &rows {
                values.extend_from_slice(self.row(*row));
            }
            for (row, values) in rows.drain(..).zip(values.chunks_exact(self.width)) {
                sum = sum.wrapping_add(row_hash(row, values));
                visit(row, values);
            }
            values.clear();
        }
        self.fingerprint = sum;
        self.handed_over = self.undo_rows.len();
    }

    /// What was handed over is committed and cannot be undone any more.
    pub(super) fn applied(&mut self) {
        self.undo_rows.drain(..self.handed_over);
        self.undo_values.drain(..self.handed_over * self.width);
        self.handed_over = 0;
        self.committed_fingerprint = self.fingerprint;
    }

    /// Back to the last applied commit.
    pub(super) fn abort(&mut self) {
        // Newest first: a row saved by two hand-overs ends with its oldest values.
        for place in (0..self.undo_rows.len()).rev() {
            let row = self.undo_rows[place];
            let old = &self.undo_values[place * self.width..][..self.width];
            let start = row as usize * self.width;
            self.values[start..start + self.width].copy_from_slice(old);
            self.touched[row as usize / 64] = 0;
        }
        self.undo_rows.clear();
        self.undo_values.clear();
        self.handed_over = 0;
        self.fingerprint = self.committed_fingerprint;
    }

    /// Back to zeros, before the table is loaded.
    pub(super) fn reset(&mut self) {
        self.values.fill(0.0);
        self.tracking = false;
    }

    /// A number that two tables share if they hold the same bits, and hardly ever otherwise: the
    /// sum of the hashes of all rows that are not zero. Costs one hash per row changed since the
    /// last hand-over, which is why it is a sum.
    pub fn fingerprint(&self) -> u64 {
        if !self.tracking {
            return self.recomputed_fingerprint();
        }
        (self.handed_over..self.undo_rows.len()).fold(self.fingerprint, |sum, place| {
            let row = self.undo_rows[place];
            let old = &self.undo_values[place * self.width..][..self.width];
            sum.wrapping_sub(row_hash(row, old))
                .wrapping_add(row_hash(row, self.row(row)))
        })
    }

    /// [`Table::fingerprint`] from nothing but the rows: the check after a restore.
    pub fn recomputed_fingerprint(&self) -> u64 {
        (0u32..)
            .zip(self.values.chunks_exact(self.width))
            .fold(0, |sum, (row, values)| {
                sum.wrapping_add(row_hash(row, values))
            })
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        4 * (self.values.capacity() + self.undo_rows.capacity() + self.undo_values.capacity())
            + 8 * self.touched.capacity()
    }
}

/// Whether every bit is zero: rows that no example has touched are neither hashed nor logged.
pub(super) fn is_zero(values: &[f32]) -> bool {
    values.iter().all(|value| value.to_bits() == 0)
}

/// The XXH3 of a row's bits, seeded with its number.
fn row_hash(row: u32, values: &[f32]) -> u64 {
    if is_zero(values) {
        return 0;
    }
    let seed = u64::from(row);
    // The common width, without a detour through a buffer for the largest.
    if let [first, second] = values {
        let both = u64::from(first.to_bits()) | u64::from(second.to_bits()) << 32;
        return xxh3_64_with_seed(&both.to_le_bytes(), seed);
    }
    let mut bytes = [0; 4 * WIDTH_MAX];
    for (bytes, value) in bytes.chunks_exact_mut(4).zip(values) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    xxh3_64_with_seed(&bytes[..4 * values.len()], seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Touch(u32, f32),
        HandOver,
        Applied,
        Abort,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..100u32, -2..3i8).prop_map(|(row, value)| Step::Touch(row, value.into())),
            1 => Just(Step::HandOver),
            1 => Just(Step::Applied),
            1 => Just(Step::Abort),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against copies of the whole table: dirty rows, undo and fingerprint, whatever happens.
        #[test]
        fn tracking_equals_copying(steps in steps()) {
            let mut table = Table::new(100, 2);
            table.track();
            let (mut committed, mut handed_over) = (table.values.clone(), table.values.clone());
            let mut dirty = std::collections::BTreeSet::new();
            for step in steps {
                match step {
                    Step::Touch(row, value) => {
                        table.row_mut(row)[1] = value;
                        dirty.insert(row);
                    }
                    Step::HandOver => {
                        let mut seen = Vec::new();
                        table.hand_over(|row, values| seen.push((row, values.to_vec())));
                        let now = std::mem::take(&mut dirty);
                        let now = now.into_iter().map(|row| (row, table.row(row).to_vec()));
                        prop_assert_eq!(seen, now.collect::<Vec<_>>());
                        handed_over.clone_from(&table.values);
                    }
                    Step::Applied => {
                        committed.clone_from(&handed_over);
                        table.applied();
                    }
                    Step::Abort => {
                        table.abort();
                        dirty.clear();
                        prop_assert_eq!(&table.values, &committed);
                        handed_over.clone_from(&committed);
                    }
                }
                prop_assert_eq!(table.dirty_rows(), dirty.len());
                prop_assert_eq!(table.fingerprint(), table.recomputed_fingerprint());
            }
        }
    }
}
