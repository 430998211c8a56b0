//! A program to be looked at, and a client of a few lines over a plain socket.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test support")]

use millstream_http::{
    Appended, Entry, HttpServer, InstanceStatus, Introspect, Limits, ModelPart, ModelStatus,
    NewRecord, Quality, QueryError, Range, RangePage, ReadFrom, RecordPage, RecordView, Role,
    Status, StoreStatus, TaskStatus, TopicStatus, TopologyFormat,
};
use millstream_metrics::Registry;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

pub(crate) const TOPIC: &str = "predictions";

/// Two partitions of one topic, and one store of counts.
pub(crate) struct Fake {
    pub(crate) ready: AtomicBool,
    /// How often it was asked for all topics.
    pub(crate) listed: AtomicUsize,
    /// How often records were read.
    pub(crate) reads: AtomicUsize,
    /// Whether every other read has room for one record only.
    pub(crate) cramped: AtomicBool,
    counts: BTreeMap<String, u64>,
    partitions: Mutex<[Vec<RecordView>; 2]>,
    /// A read of the key `slow` waits here until the sender is dropped.
    slow: Mutex<Receiver<()>>,
}

impl Fake {
    pub(crate) fn new() -> (Arc<Self>, SyncSender<()>) {
        let (release, slow) = sync_channel(0);
        let fake = Self {
            ready: AtomicBool::new(true),
            listed: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            cramped: AtomicBool::new(false),
            counts: [("a b/c", 3), ("apple", 1), ("größe", 2)]
                .map(|(k, v)| (k.into(), v))
                .into(),
            partitions: Mutex::default(),
            slow: Mutex::new(slow),
        };
        (Arc::new(fake), release)
    }
}

impl Introspect for Fake {
    fn status(&self) -> Status {
        let task = TaskStatus {
            id: "0_0".into(),
            role: Role::Active,
            state: "RUNNING".into(),
            lag: Some(7),
            restore: Vec::new(),
        };
        Status {
            application_id: "fake".into(),
            version: "1".into(),
            state: "RUNNING".into(),
            predictions_topic: Some(TOPIC.into()),
            tasks: vec![task],
        }
    }

    fn liveness(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    fn readiness(&self) -> Result<(), Vec<String>> {
        if self.ready.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(vec!["store counts is being restored".into()])
        }
    }

    fn topology(&self, format: TopologyFormat) -> String {
        match format {
            TopologyFormat::Text => "Topologies:\n".into(),
            TopologyFormat::Json => json!({ "subtopologies": [] }).to_string(),
            TopologyFormat::Dot => "digraph topology {}\n".into(),
            TopologyFormat::Mermaid => "flowchart LR\n".into(),
        }
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        let other = InstanceStatus {
            server: Some("other.example.com:80".into()),
            standby: vec!["0_0".into()],
            ..InstanceStatus::default()
        };
        let this = InstanceStatus {
            ours: true,
            active: vec!["0_0".into()],
            ..InstanceStatus::default()
        };
        vec![this, other]
    }

    fn stores(&self) -> Vec<StoreStatus> {
        let (name, kind) = ("counts".into(), "key-value".into());
        vec![StoreStatus {
            name,
            kind,
            keys: Some(3),
        }]
    }

    fn get(&self, store: &str, key: &str) -> Result<Option<Value>, QueryError> {
        if store != "counts" {
            return Err(QueryError::UnknownStore(store.into()));
        }
        if !self.ready.load(Ordering::SeqCst) {
            return Err(QueryError::NotReady("restoring".into()));
        }
        match key {
            "slow" => drop(self.slow.lock().unwrap().recv()),
            "far" => {
                return Err(QueryError::Elsewhere {
                    why: "of 2 partitions this instance has 1".into(),
                    server: Some("other.example.com:80".into()),
                });
            }
            "boom" => panic!("the program has a fault"),
            "!" => return Err(QueryError::BadKey("no key begins with '!'".into())),
            _ => {}
        }
        Ok(self.counts.get(key).map(|count| json!(count)))
    }

    fn range(&self, store: &str, range: &Range) -> Result<RangePage, QueryError> {
        if store != "counts" {
            return Err(QueryError::UnknownStore(store.into()));
        }
        // The fake program's cursor is the next key behind a mark.
        let cursor = match range.cursor.as_deref().map(|text| text.strip_prefix("at:")) {
            Some(None) => return Err(QueryError::BadCursor("no mark".into())),
            other => other.flatten(),
        };
        let within = |key: &str| {
            cursor.is_none_or(|first| first <= key)
                && range.from.as_deref().is_none_or(|from| from <= key)
                && range.to.as_deref().is_none_or(|to| key <= to)
        };
        let mut entries = self.counts.iter().filter(|(key, _)| within(key));
        let page = entries.by_ref().take(range.limit);
        let entry = |(key, count): (&String, &u64)| Entry {
            key: key.clone(),
            value: json!(count),
            error: None,
        };
        let page = page.map(entry).collect();
        Ok(RangePage {
            entries: page,
            next: entries.next().map(|(key, _)| format!("at:{key}")),
        })
    }

    fn topics(&self) -> Result<Vec<TopicStatus>, QueryError> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        Ok(vec![TopicStatus {
            name: TOPIC.into(),
            partitions: 2,
        }])
    }

    fn partitions(&self, topic: &str) -> Result<u32, QueryError> {
        match topic {
            TOPIC => Ok(2),
            _ => Err(QueryError::UnknownTopic(topic.into())),
        }
    }

    fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Appended>, QueryError> {
        if topic == "changelog" {
            return Err(QueryError::Refused("the topic is internal".into()));
        }
        if topic != TOPIC {
            return Err(QueryError::UnknownTopic(topic.into()));
        }
        if records.iter().any(|record| record.value.is_boolean()) {
            return Err(QueryError::BadRecord("a boolean is no prediction".into()));
        }
        let mut partitions = self.partitions.lock().unwrap();
        let place = |record: NewRecord| {
            let partition = record.partition.unwrap_or(0);
            let log = &mut partitions[partition as usize];
            let offset = i64::try_from(log.len()).unwrap();
            let timestamp = record.timestamp.unwrap_or(0);
            let (key, value) = (record.key, record.value);
            log.push(RecordView {
                partition,
                offset,
                index: 0,
                timestamp,
                key,
                value,
            });
            Appended { partition, offset }
        };
        Ok(records.into_iter().map(place).collect())
    }

    fn read(
        &self,
        topic: &str,
        partition: u32,
        from: ReadFrom,
        limit: usize,
    ) -> Result<RecordPage, QueryError> {
        if topic != TOPIC {
            return Err(QueryError::UnknownTopic(topic.into()));
        }
        let partitions = self.partitions.lock().unwrap();
        let Some(log) = partitions.get(partition as usize) else {
            return Err(QueryError::UnknownPartition {
                topic: topic.into(),
                partition,
            });
        };
        let first = match from {
            ReadFrom::Offset(offset) => usize::try_from(offset).unwrap().min(log.len()),
            ReadFrom::Last(count) => log.len().saturating_sub(count),
        };
        let is_odd = self.reads.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        let limit = if is_odd && self.cramped.load(Ordering::SeqCst) {
            limit.min(1)
        } else {
            limit
        };
        let records: Vec<_> = log[first..].iter().take(limit).cloned().collect();
        let next = i64::try_from(first + records.len()).unwrap();
        Ok(RecordPage {
            records,
            next,
            start: 0,
            end: i64::try_from(log.len()).unwrap(),
        })
    }

    fn models(&self) -> Vec<ModelStatus> {
        let grade = |metric: &str, value| Quality {
            metric: metric.into(),
            window: "all".into(),
            value,
        };
        vec![ModelStatus {
            name: "stars".into(),
            kind: "logistic regression".into(),
            version: "12".into(),
            predictions: 10,
            learned: 9,
            partitions: vec![ModelPart {
                partition: 0,
                predictions: 10,
                learned: 9,
            }],
            quality: vec![grade("accuracy", 0.75), grade("auc", f64::NAN)],
        }]
    }
}

/// A server with these limits over a fake program.
pub(crate) fn start(limits: Limits) -> (HttpServer, Arc<Fake>, SyncSender<()>) {
    let (fake, release) = Fake::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let registry = Registry::new().unwrap();
    let server = HttpServer::start_with(address, limits, fake.clone(), registry).unwrap();
    (server, fake, release)
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of an error.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let of = |line: &'_ str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        let line = self.head.lines().find(|line| of(line)).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value.trim())
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    // A server that hangs fails the test instead of hanging it.
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Sends bytes as they are and reads until the server closes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    // A reset after the answer, because the server did not read a body it refused, is no failure.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    exchange(address, request.as_bytes())
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "")
}

/// An open stream of server-sent events.
pub(crate) struct Events {
    reader: BufReader<TcpStream>,
    pub(crate) status: u16,
}

impl Events {
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        let mut stream = connect(address);
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        Self { reader, status }
    }

    /// The next event's name and data; `None` when the stream has ended.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    pub(crate) fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }
}
