//! Every route over a real socket: what it answers, and what it says to a bad request.

mod common;

use common::{TOPIC, exchange, get, request, start};
use millstream_http::Limits;
use serde_json::json;
use std::sync::atomic::Ordering;

#[test]
fn the_page_and_its_files_come_from_the_server() {
    let (server, ..) = start(Limits::default());
    let kinds = [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/topology.js", "text/javascript; charset=utf-8"),
    ];
    for (path, kind) in kinds {
        let answer = get(server.local_addr(), path);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, kind),
            "{path}"
        );
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'")
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn metrics_are_prometheus_text() {
    let (server, ..) = start(Limits::default());
    let answer = get(server.local_addr(), "/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(answer.body.contains("# TYPE "), "{}", answer.body);
}

#[test]
fn probes_tell_whether_and_why() {
    let (server, fake, _release) = start(Limits::default());
    let address = server.local_addr();
    assert_eq!(
        get(address, "/healthz").json(),
        json!({ "status": "alive" })
    );
    assert_eq!(get(address, "/readyz").json(), json!({ "status": "ready" }));

    fake.ready.store(false, Ordering::SeqCst);
    let answer = get(address, "/readyz");
    let reasons = json!(["store counts is being restored"]);
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({ "status": "not ready", "reasons": reasons })
    );
    assert_eq!(
        get(address, "/healthz").status,
        200,
        "a restore is no reason to restart"
    );
    let answer = get(address, "/stores/counts/apple");
    assert_eq!((answer.status, answer.code().as_str()), (503, "not_ready"));
}

#[test]
fn other_instances_are_named() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    let other = "other.example.com:80";
    for prefix in ["", "/api/v1"] {
        let instances = get(address, &format!("{prefix}/instances")).json();
        assert_eq!(
            instances,
            json!([
                { "server": null, "ours": true, "active": ["0_0"], "standby": [] },
                { "server": other, "ours": false, "active": [], "standby": ["0_0"] },
            ])
        );
    }
    let error = get(address, "/stores/counts/far").json()["error"].clone();
    assert_eq!(error["server"], other);
    let unknown = get(address, "/stores/counts/nope").json()["error"].clone();
    assert!(unknown.get("server").is_none());
}

#[test]
fn the_topology_comes_in_every_format() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    for (query, start) in [
        ("", "Topologies:"),
        ("?format=text", "Topologies:"),
        ("?format=json", "{\"subtopologies\""),
        ("?format=dot", "digraph"),
        ("?format=mermaid", "flowchart"),
    ] {
        for prefix in ["", "/api/v1"] {
            let answer = get(address, &format!("{prefix}/topology{query}"));
            assert_eq!(answer.status, 200);
            assert!(answer.body.starts_with(start), "{query}: {}", answer.body);
        }
    }
    for query in ["?format=svg", "?from=json"] {
        let answer = get(address, &format!("/topology{query}"));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "bad_request"),
            "{query}"
        );
    }
}

#[test]
fn status_tasks_and_models_are_lists_for_programs() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    let status = get(address, "/api/v1/status").json();
    assert_eq!(status["application_id"], "fake");
    let task =
        json!({ "id": "0_0", "role": "active", "state": "RUNNING", "lag": 7, "restore": [] });
    assert_eq!(get(address, "/api/v1/tasks").json(), json!([task]));
    assert_eq!(status["tasks"], json!([task]));
    let models = get(address, "/api/v1/models").json();
    assert_eq!(models[0]["name"], "stars");
    let part = json!([{ "partition": 0, "predictions": 10, "learned": 9 }]);
    assert_eq!(models[0]["partitions"], part);
    assert_eq!(
        models[0]["quality"][1]["value"],
        json!(null),
        "no number is unknown"
    );
}

#[test]
fn stores_are_listed_and_answer_by_key() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    for prefix in ["", "/api/v1"] {
        let stores = get(address, &format!("{prefix}/stores")).json();
        assert_eq!(
            stores,
            json!([{ "name": "counts", "kind": "key-value", "keys": 3 }])
        );
        let answer = get(address, &format!("{prefix}/stores/counts/a%20b%2Fc"));
        assert_eq!(answer.json(), json!({ "key": "a b/c", "value": 3 }));
        let answer = get(address, &format!("{prefix}/stores/counts/gr%C3%B6%C3%9Fe"));
        assert_eq!(answer.json()["value"], 2);
    }
    for (path, status, code) in [
        ("/stores/nope/apple", 404, "unknown_store"),
        ("/stores/counts/nope", 404, "unknown_key"),
        ("/stores/counts/!", 400, "bad_key"),
        ("/stores/counts/far", 421, "elsewhere"),
        ("/stores/counts/%FF", 400, "bad_request"),
        ("/stores/counts/boom", 500, "internal"),
        ("/stores/nope", 404, "unknown_store"),
        ("/stores/counts?limit=0", 400, "bad_request"),
        ("/stores/counts?limit=501", 400, "bad_request"),
        ("/stores/counts?limit=many", 400, "bad_request"),
        ("/stores/counts?form=a", 400, "bad_request"),
        ("/stores/counts?cursor=a", 400, "bad_cursor"),
    ] {
        let answer = get(address, path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{path}"
        );
    }
    assert_eq!(
        get(address, "/healthz").status,
        200,
        "a panic of the program harms nobody else"
    );
}

#[test]
fn ranges_are_ordered_and_can_be_continued() {
    let (server, ..) = start(Limits::default());
    let page = get(server.local_addr(), "/stores/counts?limit=2").json();
    assert_eq!(page["entries"][0], json!({ "key": "a b/c", "value": 3 }));
    assert_eq!(
        (&page["entries"][1]["key"], &page["next"]),
        (&json!("apple"), &json!("at:größe"))
    );
    let page = get(
        server.local_addr(),
        "/stores/counts?cursor=at%3Agr%C3%B6%C3%9Fe",
    );
    let page = page.json();
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(1));
    let page = get(server.local_addr(), "/stores/counts?from=b").json();
    assert_eq!(
        page,
        json!({ "entries": [{ "key": "größe", "value": 2 }], "next": null })
    );
    let page = get(server.local_addr(), "/stores/counts?to=apple&from=apple").json();
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(1));
}

#[test]
fn records_are_appended_and_read_back() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    assert_eq!(
        get(address, "/topics").json(),
        json!([{ "name": TOPIC, "partitions": 2 }])
    );
    let path = format!("/topics/{TOPIC}/records");
    let body = json!({ "records": [
        { "key": "k", "value": { "stars": 5 }, "timestamp": 17 },
        { "value": "text", "partition": 1 },
        {},
    ] });
    let answer = request(address, "POST", &path, &body.to_string());
    let place = |partition, offset| json!({ "partition": partition, "offset": offset });
    assert_eq!(
        answer.json(),
        json!({ "offsets": [place(0, 0), place(1, 0), place(0, 1)] })
    );

    let page = get(
        address,
        &format!("/api/v1{path}?partition=0&offset=0&limit=1"),
    )
    .json();
    let record = json!({
        "partition": 0, "offset": 0, "timestamp": 17, "key": "k", "value": { "stars": 5 },
    });
    assert_eq!(
        page,
        json!({ "records": [record], "next": 1, "start": 0, "end": 2 })
    );
    let page = get(address, &format!("{path}?limit=1")).json();
    assert_eq!(
        page["records"][0]["offset"], 1,
        "without an offset, the last"
    );
}

#[test]
fn bad_reads_are_refused() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    for (path, status, code) in [
        ("/topics/nope/records", 404, "unknown_topic"),
        (
            "/topics/predictions/records?partition=2",
            404,
            "unknown_partition",
        ),
        (
            "/topics/predictions/records?partition=-1",
            400,
            "bad_request",
        ),
        ("/topics/predictions/records?offset=-1", 400, "bad_request"),
        (
            "/topics/predictions/records?limit=100000",
            400,
            "bad_request",
        ),
        ("/topics/nope/tail", 404, "unknown_topic"),
        ("/topics/nope/tail?partition=0", 404, "unknown_topic"),
        (
            "/topics/predictions/tail?partition=4294967295",
            404,
            "unknown_partition",
        ),
        ("/topics/predictions/tail?last=501", 400, "bad_request"),
        ("/topics/predictions/tail?most=0", 400, "bad_request"),
    ] {
        let answer = get(address, path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{path}"
        );
    }
}

#[test]
fn bad_appends_are_refused_and_append_nothing() {
    let (server, ..) = start(Limits {
        append_records: 2,
        ..Limits::default()
    });
    let address = server.local_addr();
    for (topic, body, status, code) in [
        (TOPIC, "", 400, "bad_request"),
        (TOPIC, "{\"records\":", 400, "bad_request"),
        (TOPIC, "[]", 400, "bad_request"),
        (TOPIC, "{\"records\":[]}", 400, "bad_request"),
        (TOPIC, "{\"records\":[{\"vlaue\":1}]}", 400, "bad_request"),
        (
            TOPIC,
            "{\"records\":[{\"partition\":-1}]}",
            400,
            "bad_request",
        ),
        (
            TOPIC,
            "{\"records\":[{\"value\":1},{\"value\":true}]}",
            400,
            "bad_record",
        ),
        (TOPIC, "{\"records\":[{},{},{}]}", 413, "too_large"),
        ("nope", "{\"records\":[{}]}", 404, "unknown_topic"),
        ("changelog", "{\"records\":[{}]}", 403, "refused"),
    ] {
        let answer = request(address, "POST", &format!("/topics/{topic}/records"), body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    let message = request(
        address,
        "POST",
        "/topics/predictions/records",
        "{\"records\":7}",
    )
    .body;
    assert!(
        message.contains("expected a sequence at line 1"),
        "{message}"
    );
    assert_eq!(get(address, "/topics/predictions/records").json()["end"], 0);
}

#[test]
fn unknown_paths_and_methods_are_json_errors_too() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    for path in [
        "/nope",
        "/api/v1/nope",
        "/stores/a/b/c",
        "/page/../../etc/passwd",
    ] {
        let answer = get(address, path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
    for (method, path) in [
        ("POST", "/metrics"),
        ("DELETE", "/stores/counts/apple"),
        ("PUT", "/topics/predictions/records"),
        ("POST", "/api/v1/live"),
    ] {
        let answer = request(address, method, path, "{}");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (405, "method_not_allowed"),
            "{path}"
        );
    }
}

#[test]
fn foreign_hosts_and_foreign_content_types_are_turned_away() {
    let (server, ..) = start(Limits::default());
    let address = server.local_addr();
    let rebound = b"GET /stores HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = exchange(address, rebound);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (421, "misdirected")
    );

    let body = "{\"records\":[{}]}";
    for kind in ["Content-Type: text/plain\r\n", ""] {
        let request = format!(
            "POST /topics/predictions/records HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(address, request.as_bytes());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (415, "unsupported_media_type")
        );
    }
}
