//! Reading partitions: to their ends, over what holds no records, and over what is gone.

use super::{at, can_run, log, topic, value, values};
use millstream_log::{Broker, Error, Log};
use millstream_tests::servers::unique;
use std::time::Duration;

#[test]
fn the_end_is_found_however_long_a_reader_does_other_things() {
    if !can_run() {
        return;
    }
    let app = unique("end");
    let mut client = log(&app, "p").client();
    topic(&mut client, &app, 1);
    client.send(&app, Some(0), value(b"a")).unwrap();
    client.commit(1, &[]).unwrap();
    // Behind the record lies the transaction's mark, and behind that nothing.
    let mut page = client.read(&at(&app, 0), 1, 1 << 20).unwrap();
    for _ in 0..50 {
        client.poll(Duration::from_millis(40)).unwrap();
        page = client.read(&at(&app, 0), page.next, 1 << 20).unwrap();
    }
    assert_eq!((page.next, page.end), (2, 2));
}

#[test]
fn what_was_read_is_there_again_without_fetching() {
    if !can_run() {
        return;
    }
    let app = unique("again");
    let mut client = log(&app, "p").client();
    topic(&mut client, &app, 1);
    for (number, letter) in (1..).zip([b"a", b"b"]) {
        client.send(&app, Some(0), value(letter)).unwrap();
        client.commit(number, &[]).unwrap();
    }
    // From the mark of the first transaction, behind which the second record lies.
    let mut page = client.read(&at(&app, 0), 1, 1 << 20).unwrap();
    for _ in 0..500 {
        if !page.records.is_empty() {
            break;
        }
        client.poll(Duration::from_millis(20)).unwrap();
        page = client.read(&at(&app, 0), 1, 1 << 20).unwrap();
    }
    for _ in 0..3 {
        let offsets: Vec<_> = page.records.iter().map(|(offset, _)| offset).collect();
        assert_eq!(offsets, [2]);
        page = client.read(&at(&app, 0), 1, 1 << 20).unwrap();
    }
}

#[test]
fn no_more_is_deleted_than_there_is() {
    if !can_run() {
        return;
    }
    let app = unique("deleted");
    let log = log(&app, "p");
    let mut client = log.client();
    topic(&mut client, &app, 1);
    for number in 0..10_u8 {
        client.send(&app, Some(0), value(&[number])).unwrap();
    }
    client.commit(1, &[]).unwrap();
    assert_eq!(log.delete_records(&at(&app, 0), 5).unwrap(), 5);
    let refused = log.delete_records(&at(&app, 0), 500);
    assert!(
        matches!(refused, Err(Error::OffsetOutOfRange { start: 5, .. })),
        "{refused:?}"
    );
    assert_eq!(values(&mut client, &at(&app, 0), 5), [5, 6, 7, 8, 9]);
}
