//! The backend in memory: the contract, and what only it promises.

mod model;

use millstream_state::{Backend, Column, MemoryBackend, WriteBatch, contract};
use proptest::prelude::*;

#[test]
fn keeps_the_contract() {
    contract::check(&|| Box::new(MemoryBackend::new(&contract::COLUMNS))).unwrap();
}

#[test]
fn counts_exactly() {
    let backend = MemoryBackend::new(&["a", "b"]);
    let mut batch = WriteBatch::new();
    batch.put(Column(0), b"key", b"value");
    batch.put(Column(0), b"key", b"longer value");
    batch.put(Column(1), b"key", b"");
    batch.put(Column(1), b"gone", b"gone");
    batch.delete(Column(1), b"gone");
    backend.apply(&batch).unwrap();
    let stats = backend.stats();
    assert_eq!(
        (stats.keys_estimate, stats.memory_bytes, stats.disk_bytes),
        (2, 18, 0)
    );
    backend.clear(Column(0)).unwrap();
    let stats = backend.stats();
    assert_eq!((stats.keys_estimate, stats.memory_bytes), (1, 3));
}

proptest! {
    #[test]
    fn behaves_like_the_model(steps in model::steps()) {
        model::run(MemoryBackend::new(&model::COLUMNS), &steps, |backend| backend)?;
    }
}
