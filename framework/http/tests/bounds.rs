//! The limits hold: streams, bodies, time, connections, silence; and stopping stops.

mod common;

use common::{Events, TOPIC, connect, exchange, get, request, start};
use millstream_http::{HttpServer, Limits};
use millstream_metrics::{Metric, Registry};
use serde_json::{Value, json};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::atomic::Ordering,
    time::Duration,
};

/// Pace for tests: nothing waits longer than it must.
fn quick() -> Limits {
    Limits {
        sample_interval: Duration::from_millis(5),
        tail_interval: Duration::from_millis(5),
        stop_timeout: Duration::from_millis(50),
        ..Limits::default()
    }
}

fn append(server: &HttpServer, partition: u32, values: impl IntoIterator<Item = i64>) {
    let record = |value| json!({ "value": value, "partition": partition });
    let records: Vec<Value> = values.into_iter().map(record).collect();
    let body = json!({ "records": records }).to_string();
    let answer = request(
        server.local_addr(),
        "POST",
        &format!("/topics/{TOPIC}/records"),
        &body,
    );
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn live_sends_the_history_and_then_summaries_with_rates() {
    let (fake, _release) = common::Fake::new();
    let registry = Registry::new().unwrap();
    let sent = registry
        .counter(Metric::RecordsSent, &[("task", "0_0")])
        .unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = HttpServer::start_with(address, quick(), fake, registry).unwrap();
    let mut events = Events::open(server.local_addr(), "/api/v1/live");
    let (name, history) = events.next().unwrap();
    assert_eq!(name, "history");
    assert!(
        history["rates"].is_array() && history["quality"].is_array(),
        "{history}"
    );
    let (name, summary) = events.next().unwrap();
    assert_eq!(
        (name.as_str(), &summary["lag"], &summary["ready"]),
        ("summary", &json!(7), &json!(true))
    );
    assert_eq!(summary["models"][0]["quality"][0]["value"], 0.75);

    sent.add(1_000);
    let counted =
        std::iter::from_fn(|| events.next()).find(|(_, now)| now["records"]["out"] == 1000.0);
    assert!(counted.unwrap().1["rates"]["out"].as_f64().unwrap() > 0.0);
    let newest = get(server.local_addr(), "/api/v1/summary").json();
    assert_eq!(newest["status"]["application_id"], "fake");
}

#[test]
fn a_tail_begins_before_the_end_and_follows_all_partitions() {
    let (server, fake, ..) = start(quick());
    append(&server, 0, [1, 2, 3]);
    let mut tail = Events::open(server.local_addr(), &format!("/topics/{TOPIC}/tail?last=2"));
    for value in [2, 3] {
        let (name, record) = tail.next().unwrap();
        assert_eq!((name.as_str(), &record["value"]), ("record", &json!(value)));
    }
    append(&server, 1, [4]);
    let (_, record) = tail.next().unwrap();
    assert_eq!(
        (&record["value"], &record["partition"]),
        (&json!(4), &json!(1))
    );
    // The log may have thousands of others.
    assert_eq!(fake.listed.load(Ordering::Relaxed), 0, "it asked for all");
}

#[test]
fn a_tail_left_behind_skips_and_says_so() {
    let (server, ..) = start(Limits {
        page_size: 2,
        tail_behind: 3,
        ..quick()
    });
    let path = format!("/topics/{TOPIC}/tail?partition=0");
    let mut tail = Events::open(server.local_addr(), &path);
    append(&server, 0, 0..10);
    let mut names = Vec::new();
    for _ in 0..3 {
        let (name, data) = tail.next().unwrap();
        names.push((name, data["value"].clone(), data["records"].clone()));
    }
    let record = |value: i64| ("record".to_owned(), json!(value), Value::Null);
    assert_eq!(
        names,
        [
            record(0),
            record(1),
            ("skipped".to_owned(), Value::Null, json!(8))
        ]
    );
    append(&server, 0, [10]);
    assert_eq!(
        tail.next().unwrap().1["value"],
        10,
        "then it goes on at the end"
    );
}

#[test]
fn a_tail_for_people_shows_the_newest_once() {
    let (server, ..) = start(quick());
    append(&server, 0, 0..10);
    let path = format!("/topics/{TOPIC}/tail?partition=0&last=3&most=2");
    let mut tail = Events::open(server.local_addr(), &path);
    let mut value = || tail.next().unwrap().1["value"].as_i64().unwrap();
    assert_eq!([value(), value(), value()], [7, 8, 9]);
    append(&server, 0, 10..20);
    assert_eq!(
        [value(), value()],
        [18, 19],
        "the others were more than wanted"
    );
    append(&server, 0, [20]);
    assert_eq!(value(), 20, "what was shown is not shown again");
}

#[test]
fn a_page_that_holds_less_than_was_shown_makes_nothing_shown_again() {
    let (server, fake, _release) = start(quick());
    append(&server, 0, 0..10);
    let path = format!("/topics/{TOPIC}/tail?partition=0&last=3&most=3");
    let mut tail = Events::open(server.local_addr(), &path);
    let mut value = || tail.next().unwrap().1["value"].as_i64().unwrap();
    assert_eq!([value(), value(), value()], [7, 8, 9]);
    fake.cramped.store(true, Ordering::SeqCst);
    // Pages of both sizes are looked at; each round asks over the network.
    let enough = fake.reads.load(Ordering::SeqCst) + 6;
    let looked = |_| {
        get(server.local_addr(), "/healthz");
        fake.reads.load(Ordering::SeqCst) >= enough
    };
    assert!((0..10_000).any(looked), "it looks no more");
    append(&server, 0, [10]);
    assert_eq!(value(), 10);
}

#[test]
fn streams_are_bounded_and_a_place_is_given_back() {
    let (server, ..) = start(Limits {
        streams: 2,
        ..quick()
    });
    let address = server.local_addr();
    let live = Events::open(address, "/api/v1/live");
    let tail = Events::open(address, &format!("/topics/{TOPIC}/tail"));
    assert_eq!((live.status, tail.status), (200, 200));
    let refused = get(address, "/api/v1/live");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "too_many_streams")
    );
    assert_eq!(
        get(address, "/healthz").status,
        200,
        "other requests are served"
    );
    drop(live);
    // The server sees the hang-up a moment later; each round asks again over the network.
    let again = (0..10_000).map(|_| Events::open(address, "/api/v1/live").status);
    assert!(
        again.into_iter().any(|status| status == 200),
        "the place came back"
    );
}

#[test]
fn silent_streams_show_signs_of_life() {
    let (server, ..) = start(Limits {
        heartbeat: Duration::from_millis(5),
        ..quick()
    });
    let mut tail = Events::open(server.local_addr(), &format!("/topics/{TOPIC}/tail"));
    let mut lines = (0..40).map(|_| tail.read_line());
    assert!(
        lines.any(|line| line.starts_with(':')),
        "a comment line comes"
    );
}

#[test]
fn bodies_are_bounded_with_and_without_a_length() {
    let (server, ..) = start(Limits {
        body_bytes: 1_000,
        ..quick()
    });
    let address = server.local_addr();
    let path = format!("/topics/{TOPIC}/records");
    let body = format!("{{\"records\":[{{\"value\":\"{}\"}}]}}", "x".repeat(2_000));
    let answer = request(address, "POST", &path, &body);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(exchange(address, chunked.as_bytes()).status, 413);
}

#[test]
fn a_slow_answer_is_given_up_and_delays_nobody() {
    let limits = Limits {
        request_timeout: Duration::from_millis(50),
        ..quick()
    };
    let (server, _fake, release) = start(limits);
    let address = server.local_addr();
    let answer = get(address, "/stores/counts/slow");
    assert_eq!((answer.status, answer.code().as_str()), (503, "timed_out"));
    assert_eq!(get(address, "/stores/counts/apple").status, 200);
    drop(release);
}

#[test]
fn what_was_given_up_is_not_done_later_and_probes_are_answered_meanwhile() {
    let limits = Limits {
        blocking_threads: 1,
        request_timeout: Duration::from_millis(50),
        ..quick()
    };
    let (server, _fake, release) = start(limits);
    let address = server.local_addr();
    assert_eq!(get(address, "/stores/counts/slow").code(), "timed_out");
    // The one thread is busy still.
    let records = format!("/topics/{TOPIC}/records");
    let body = json!({ "records": [{ "value": 1 }] }).to_string();
    let answer = request(address, "POST", &records, &body);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (504, "unknown_outcome")
    );
    assert_eq!(get(address, "/api/v1/topics").code(), "timed_out");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
    drop(release);
    let tries = std::iter::repeat_with(|| get(address, &records)).take(1_000);
    let answer = tries.into_iter().find(|answer| answer.status == 200);
    assert_eq!(answer.unwrap().json()["records"], json!([]));
}

#[test]
fn a_connection_that_says_nothing_is_closed_and_frees_its_place() {
    let limits = Limits {
        connections: 1,
        idle_timeout: Duration::from_millis(50),
        ..quick()
    };
    let (server, ..) = start(limits);
    let mut silent = connect(server.local_addr());
    silent.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    // With room for one, this is served only after the silent one was thrown out.
    assert_eq!(get(server.local_addr(), "/healthz").status, 200);
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[test]
fn a_request_that_comes_byte_by_byte_is_not_waited_for_without_end() {
    let limits = Limits {
        connections: 1,
        idle_timeout: Duration::from_millis(300),
        ..quick()
    };
    let (server, ..) = start(limits);
    let address = server.local_addr();
    let mut slow = connect(address);
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        .unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut answer = [0; 1];
    // A header without an end, of which a byte comes now and then: fewer than would take a minute.
    let closed = (0..3_000).any(|_| {
        let refused = slow.write_all(b"a").is_err();
        let over = match slow.read(&mut answer) {
            Ok(bytes) => bytes == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        refused || over
    });
    assert!(closed, "it is still waited for");
    assert_eq!(get(address, "/healthz").status, 200);
}

#[test]
fn malformed_requests_are_answered_or_closed_and_harm_nobody() {
    let (server, ..) = start(quick());
    let address = server.local_addr();
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let bad: [&[u8]; 6] = [
        b"\r\n\r\n\r\n\r\nx",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS?\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /topics/x/records HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        long.as_bytes(),
    ];
    for bytes in bad {
        let mut stream = connect(address);
        // The server may close while it is still being written to.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(get(address, "/healthz").status, 200);
}

#[test]
fn stopping_ends_streams_and_frees_the_port() {
    let (server, _fake, _release) = start(quick());
    let address = server.local_addr();
    let mut live = Events::open(address, "/api/v1/live");
    live.next().unwrap();
    let mut silent = connect(address);
    silent.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    server.stop();
    while live.next().is_some() {}
    drop((live, silent));
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_taken_port_is_an_error_of_start() {
    let (server, fake, _release) = start(quick());
    let registry = Registry::new().unwrap();
    let error = HttpServer::start(server.local_addr(), fake, registry).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}
