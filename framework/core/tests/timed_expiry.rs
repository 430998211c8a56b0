//! What a timed store forgets: rows whose time is over, wherever they lie by then.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    batch::RecordBatch,
    record::Timestamp,
    serde::{i64_be, utf8},
    store::{At, StateStore, StoreEnv, Sweep, TimedKind, TimedShape, TimedStore},
    task::restore_record,
};
use millstream_state::{
    Backend, BufferBudget, Buffered, Column, MemoryBackend, Op, Position, WriteBatch, ordered,
};
use std::sync::Arc;

const COLUMN: Column = Column(0);

fn open(shape: TimedShape, backend: Arc<dyn Backend>, trimmed: bool) -> TimedStore<String, i64> {
    let env = StoreEnv {
        backend,
        column: COLUMN,
        cache_bytes: 1 << 20,
        trimmed,
    };
    TimedStore::open(utf8(), i64_be(), shape, env).unwrap()
}

/// Rows whose keys never come again are forgotten all the same, in memory and below, where a buffer
/// is in between too.
#[test]
fn what_has_expired_leaves_the_backend() {
    let shape = TimedShape {
        kind: TimedKind::Window(1000),
        retention: 200_000,
        wide: false,
    };
    for buffered in [false, true] {
        let below = Arc::new(MemoryBackend::new(&["rows"]));
        let backend: Arc<dyn Backend> = if buffered {
            Arc::new(Buffered::new(below.clone(), BufferBudget::new(1 << 20)))
        } else {
            below.clone()
        };
        let mut store = open(shape, backend.clone(), true);
        let mut most = 0;
        for second in 0..4000i64 {
            let time = second * 1000;
            store.set_time(time);
            store.observe(time);
            store
                .put(&format!("k{second}"), At::time(time), Some(second))
                .unwrap();
            let (mut changes, mut batch) = (RecordBatch::new(), WriteBatch::new());
            store.drain(&mut changes).unwrap();
            for (_, record) in changes.iter() {
                restore_record(&mut batch, COLUMN, record);
            }
            if let Some(horizon) = store.expired() {
                batch.set_horizon(COLUMN, horizon);
            }
            let position = Position {
                offset: second,
                reach: second,
                topic_id: 1,
                applied_at: time,
                transaction: 1,
            };
            batch.set_position(COLUMN, position);
            backend.apply(&batch).unwrap();
            store.applied().unwrap();
            most = most.max(below.stats().keys_estimate);
        }
        // 200 are open at any time; a sweep begins after half the retention, and a buffer holds
        // what it finds back for five seconds.
        assert!((150..325).contains(&most), "{most} rows at once");
        let held = store.resident_bytes();
        assert!(held < 400 * 300, "{held} bytes in memory");
    }
}

/// Rows that a buffer will change are not for the search to judge, and cost it as much to pass:
/// with a buffer full of them a commit would wait for all.
#[test]
fn a_stretch_of_the_search_ends_among_rows_that_will_change() {
    const HELD: u32 = 1_000;
    let shape = TimedShape {
        kind: TimedKind::Instant,
        retention: 10,
        wide: false,
    };
    let row = |name: &str, time: Timestamp| {
        let mut key = name.as_bytes().to_vec();
        ordered::put_i64(&mut key, time);
        key
    };
    let backend = Buffered::new(
        Arc::new(MemoryBackend::new(&["rows"])),
        BufferBudget::new(1 << 20),
    );
    let mut batch = WriteBatch::new();
    for number in 0..HELD {
        batch.put(COLUMN, &row(&format!("a{number:04}"), 1_000), b"row");
    }
    let position = Position {
        offset: 1,
        reach: 1,
        topic_id: 1,
        applied_at: 0,
        transaction: 1,
    };
    batch.set_position(COLUMN, position);
    backend.apply(&batch).unwrap();
    // The clock, behind the time of its own record.
    let clock = [0_i64, 1_000].map(i64::to_be_bytes).concat();
    let mut settled = WriteBatch::new();
    settled.put(COLUMN, &[0], &clock);
    settled.put(COLUMN, &row("z", 5), b"row");
    settled.set_position(COLUMN, position);
    backend.apply(&settled).unwrap();
    backend.flush().unwrap();
    backend.apply(&batch).unwrap();
    let (mut sweep, mut stretches) = (Sweep::default(), 0);
    let mut found = WriteBatch::new();
    while found.ops().count() == 0 && stretches < 100 {
        let column = (&backend as &dyn Backend, COLUMN);
        sweep.delete_expired(column, shape, 0, &mut found).unwrap();
        stretches += 1;
    }
    // 256 rows at a time, where nothing was written.
    assert_eq!(stretches, 4, "stretches until the row was found");
    let found: Vec<_> = found.ops().collect();
    assert!(matches!(found[..], [Op::Delete { key, .. }] if key == row("z", 5)));
}

/// A store that keeps nothing, at the end of time: nothing is before it that could be taken away.
#[test]
fn the_greatest_time_is_no_reason_to_search_for_ever() {
    let shape = TimedShape {
        kind: TimedKind::Instant,
        retention: 0,
        wide: true,
    };
    for trimmed in [false, true] {
        let backend = Arc::new(MemoryBackend::new(&["rows"]));
        let mut store = open(shape, backend, trimmed);
        store.observe(Timestamp::MAX);
        let (key, at) = ("k".to_owned(), At::time(Timestamp::MAX));
        assert!(!store.put(&key, at, Some(1)).unwrap());
        assert!(store.get(&key, at).unwrap().is_none());
    }
}
