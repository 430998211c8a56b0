//! Server-sent events: the live summary, and the tail of a topic.
//!
//! Invariant: streams are pulled. A client that reads slowly makes its own stream ask more rarely;
//! no queue grows for it. At most [`Limits::streams`](crate::Limits) are open, and all end when the
//! server stops.

use crate::{
    ReadFrom, RecordView,
    app::App,
    error::{ApiError, ApiResult},
    server::stopped,
};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::Arc,
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};

/// Something that yields events until it has no more.
trait Source: Send + 'static {
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
}

/// An open stream: its source, and its place among the streams.
fn respond(app: &Arc<App>, source: impl Source, permit: OwnedSemaphorePermit) -> Response {
    let stopping = app.stopping.clone();
    let stream = unfold(
        (source, stopping, permit),
        |(mut source, stopping, permit)| async move {
            let event = tokio::select! {
                event = source.next() => event?,
                () = stopped(stopping.clone()) => return None,
            };
            Some((Ok::<_, Infallible>(event), (source, stopping, permit)))
        },
    );
    let heartbeat = KeepAlive::new().interval(app.limits.heartbeat);
    Sse::new(stream).keep_alive(heartbeat).into_response()
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let failed = |_| {
        Event::default()
            .event("problem")
            .data("not representable as JSON")
    };
    Event::default()
        .event(name)
        .json_data(data)
        .unwrap_or_else(failed)
}

/// `GET /live`: an event `history`, then an event `summary` for each sample.
pub(crate) async fn live(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let permit = app.stream_permit()?;
    let mut newest = app.live.subscribe();
    // A summary that is there already is sent at once.
    newest.mark_changed();
    let history = Some(event("history", &app.live.history()));
    Ok(respond(&app, Summaries { history, newest }, permit))
}

struct Summaries {
    history: Option<Event>,
    newest: watch::Receiver<Arc<str>>,
}

impl Source for Summaries {
    async fn next(&mut self) -> Option<Event> {
        if let Some(history) = self.history.take() {
            return Some(history);
        }
        loop {
            self.newest.changed().await.ok()?;
            let summary = Arc::clone(&self.newest.borrow_and_update());
            // Before the first sample there is nothing to tell.
            if !summary.is_empty() {
                return Some(Event::default().event("summary").data(&*summary));
            }
        }
    }
}

/// How a tail is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TailQuery {
    /// One partition, or all.
    partition: Option<u32>,
    /// How many records before the end to begin with, in each partition.
    #[serde(default)]
    last: usize,
    /// At most this many records of a partition at each look, the newest: for people, who cannot
    /// read more, and from whom encoding more would take the program's time.
    most: Option<usize>,
}

/// `GET /topics/{topic}/tail`: an event `record` for each record as it is committed, and an event
/// `skipped` where the reader was too slow. An error later on is an event `problem`, and the end.
pub(crate) async fn tail(
    State(app): State<Arc<App>>,
    topic: Result<Path<String>, PathRejection>,
    query: Result<Query<TailQuery>, QueryRejection>,
) -> ApiResult<Response> {
    let (Path(topic), Query(query)) = (topic?, query?);
    let most = app.limits.page_size;
    if query.last > most {
        return Err(ApiError::bad_request(format!(
            "last must be 0 to {most}, not {}",
            query.last
        )));
    }
    if query
        .most
        .is_some_and(|newest| newest == 0 || newest > most)
    {
        return Err(ApiError::bad_request(format!("most must be 1 to {most}")));
    }
    let permit = app.stream_permit()?;
    let partitions = match query.partition {
        Some(partition) => vec![partition],
        None => (0..partitions(&app, &topic).await?).collect(),
    };
    let mut tail = Tail {
        app: Arc::clone(&app),
        topic,
        positions: BTreeMap::new(),
        step: most,
        newest: query.most,
        ready: VecDeque::new(),
        ended: false,
    };
    // The first look is part of the request, so that what is wrong with it has a status.
    tail.step = (most / partitions.len().max(1)).max(1);
    let last = query.last.min(tail.step);
    for partition in partitions {
        tail.read(partition, ReadFrom::Last(last)).await?;
    }
    Ok(respond(&app, tail, permit))
}

async fn partitions(app: &App, topic: &str) -> ApiResult<u32> {
    let topic = topic.to_owned();
    let ask = move |program: &dyn crate::Introspect| program.partitions(&topic);
    Ok(app.ask(ask).await??)
}

/// The tail of some partitions. They share a page, so that many partitions are hardly more to hold:
/// each may pass its share by a pack.
struct Tail {
    app: Arc<App>,
    topic: String,
    /// Where to read on, by partition.
    positions: BTreeMap<u32, i64>,
    /// How many records of a partition to read at once.
    step: usize,
    /// How many of the newest records to be content with.
    newest: Option<usize>,
    ready: VecDeque<Event>,
    ended: bool,
}

impl Tail {
    async fn read(&mut self, partition: u32, from: ReadFrom) -> ApiResult<()> {
        let limits = &self.app.limits;
        let known = self.positions.get(&partition).copied();
        let (from, size) = match (self.newest, known) {
            (Some(newest), Some(_)) => (ReadFrom::Last(newest), newest),
            _ => (from, self.step),
        };
        let topic = self.topic.clone();
        let ask =
            move |program: &dyn crate::Introspect| program.read(&topic, partition, from, size);
        let page = self.app.ask(ask).await??;
        let unseen = |record: &&RecordView| known.is_none_or(|known| record.offset >= known);
        for record in page.records.iter().filter(unseen) {
            self.ready.push_back(event("record", record));
        }
        // A page of the newest may end before what was shown, where it can hold no more. An end
        // before that is one of a topic that was made anew.
        let shown = known.filter(|known| *known <= page.end);
        let mut next = page.next.max(shown.unwrap_or(page.next));
        if page.end - next > limits.tail_behind {
            let records = page.end - next;
            self.ready.push_back(event(
                "skipped",
                &json!({ "partition": partition, "records": records }),
            ));
            next = page.end;
        }
        self.positions.insert(partition, next);
        Ok(())
    }

    async fn read_all(&mut self) -> ApiResult<()> {
        for (partition, position) in self.positions.clone() {
            self.read(partition, ReadFrom::Offset(position)).await?;
        }
        Ok(())
    }
}

impl Source for Tail {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            sleep(self.app.limits.tail_interval).await;
            if let Err(error) = self.read_all().await {
                self.ended = true;
                return Some(event("problem", &error.body()));
            }
        }
    }
}
