//! The partitions a client reads: its tasks' inputs, changelogs, and whatever else is looked at.
//!
//! Each has a queue of its own, filled by librdkafka ahead of the reader up to a bound; a reader
//! that is slow simply takes nothing. Records are copied once, from the fetched buffer into a batch
//! that belongs to us; nothing is allocated for one of them, and a batch that everybody has let go
//! of is filled again. Invariant: `next` is the offset after everything handed out, and passes over
//! what holds no records (aborted transactions, markers) only when librdkafka has said that it is
//! at the end.

#[cfg(test)]
mod tests;

use crate::{
    broker::Cluster,
    errors::{Reaction, reaction, refused},
    ffi::{Code, Context, Handle, KafkaError, Message, Queue, Topic, is_unknown_topic},
    wake::Waker,
};
use millstream_core::{
    batch::{RecordBatch, Records},
    record::{Headers, Offset, RawRecord, TopicPartition},
};
use millstream_log::{Error, Result};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

/// Room that a new batch has for its records' bytes, at first.
const BATCH_BYTES: usize = 16 << 10;
/// Batches of a partition that are kept to be filled again, and how large each may be.
const SPARES_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 512 << 10;
/// A partition that is read in pages is closed when nobody has asked for one for so long: whoever
/// shows topics to people looks at many, and each holds what was fetched ahead.
const UNREAD: Duration = Duration::from_secs(60);

/// What a partition said instead of a record, and of which offset; negative where of none.
struct News {
    error: KafkaError,
    of: Offset,
}

/// One partition being read.
struct Source {
    topic: Arc<Topic>,
    queue: Queue,
    /// Taken from the queue, not handed out.
    stash: VecDeque<Message>,
    /// The offset after all that was handed out.
    next: Offset,
    /// Where reading began, or the offset after the last record handed out: from here to `next`
    /// there are none.
    bare: Offset,
    /// Everything before `next` was handed out and there was nothing more.
    at_end: bool,
    /// Whether a connection failed since reading began: the end may have been heard of before.
    doubted: bool,
    /// Whether the reader was told of what is in the stash.
    told: bool,
    /// The end when the cluster was last asked for it, open transactions included.
    asked_end: Option<Offset>,
    /// The last page, and from where it was asked for: a reader that could not use all of it asks
    /// for the rest again.
    page: Option<(Offset, Arc<RecordBatch>)>,
    /// When a page was last asked for, if ever.
    paged: Option<Duration>,
    /// Batches handed out before; those that nobody else holds any more are filled again.
    spares: Vec<Arc<RecordBatch>>,
}

impl Source {
    /// An empty batch that only we hold.
    fn blank(&mut self) -> Arc<RecordBatch> {
        let free = (self.spares.iter_mut()).position(|spare| Arc::get_mut(spare).is_some());
        let mut batch = match free {
            Some(free) => self.spares.swap_remove(free),
            None => Arc::new(RecordBatch::with_capacity(self.stash.len(), BATCH_BYTES)),
        };
        if let Some(batch) = Arc::get_mut(&mut batch) {
            batch.clear();
        }
        batch
    }

    /// Remembers a batch for when its readers are done with it.
    fn keep(&mut self, batch: &Arc<RecordBatch>) {
        if self.spares.len() < SPARES_MAX && batch.held_bytes() <= SPARE_BYTES_MAX {
            self.spares.push(Arc::clone(batch));
        }
    }

    /// Moves what was fetched into a batch, up to both bounds or news that must be heard.
    fn fill(
        &mut self,
        batch: &mut RecordBatch,
        records_max: usize,
        bytes_max: usize,
    ) -> std::result::Result<(), News> {
        // However few bytes are asked for, one record goes.
        let room = |batch: &RecordBatch| {
            batch.len() < records_max && (batch.is_empty() || batch.held_bytes() < bytes_max)
        };
        while room(batch) {
            self.pump();
            let Some(message) = self.stash.pop_front() else {
                break;
            };
            if let Some(code) = message.news() {
                return Err(News {
                    error: KafkaError::new(code, message.explanation()),
                    of: message.offset(),
                });
            }
            // After a seek librdkafka may still hand out what it had fetched before.
            let offset = message.offset();
            if offset < self.next {
                continue;
            }
            if !push(batch, offset, &message) {
                self.stash.push_front(message);
                break;
            }
            self.next = offset + 1;
            self.bare = self.next;
            self.at_end = false;
        }
        Ok(())
    }

    /// Brings what was fetched into the stash, and takes news of the end out of its front.
    fn pump(&mut self) {
        if self.stash.is_empty() && self.queue.has_news() {
            self.queue.take(&mut self.stash);
        }
        while let Some(message) = self.stash.front() {
            if message.news() != Some(Code::RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                break;
            }
            self.ended(message.offset());
            self.stash.pop_front();
        }
    }

    fn ended(&mut self, at: Offset) {
        self.next = self.next.max(at);
        self.at_end = true;
        // Not by `map`: its compiled form looks at the number also where there is none, which does
        // no harm, but is what a memory checker is to find.
        if let Some(end) = &mut self.asked_end {
            *end = (*end).max(at);
        }
    }
}

/// All partitions that a client reads, on one handle. Messages must be gone before their handle is,
/// and they do not hold it themselves (that would cost a counter per record): dropping closes all.
pub(crate) struct Sources {
    cluster: Arc<Cluster>,
    handle: Arc<Handle>,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    open: BTreeMap<TopicPartition, Source>,
    /// Where reading was of partitions of which that is out of range.
    broken_off: BTreeMap<TopicPartition, Offset>,
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}

impl Sources {
    /// `tells`: whether there are statistics, for whoever serves the handle often.
    pub(crate) fn new(
        cluster: &Arc<Cluster>,
        (client, tells): (&str, bool),
        waker: &Arc<Waker>,
    ) -> Result<Self> {
        let context = Context::new(Arc::clone(waker));
        if tells {
            cluster.tellers.add(&context);
        }
        Ok(Self {
            cluster: Arc::clone(cluster),
            handle: cluster.config.reader(client, tells, context)?,
            topics: BTreeMap::new(),
            open: BTreeMap::new(),
            broken_off: BTreeMap::new(),
        })
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Whether a partition is being read.
    pub(crate) fn is_open(&self, at: &TopicPartition) -> bool {
        self.open.contains_key(at)
    }

    /// Goes on at an offset, fetching anew unless that is where reading is. Its reader may not have
    /// heard yet that no records are between that offset and where reading is: to fetch them again
    /// would forget that as often as it is found out.
    pub(crate) fn seek(&mut self, at: &TopicPartition, offset: Offset) -> Result<()> {
        let is_there = |source: &Source| (source.bare..=source.next).contains(&offset);
        if self.open.get(at).is_some_and(is_there) {
            return Ok(());
        }
        self.close(at);
        self.start(at, offset)
            .map_err(|error| refused("starting to fetch", &error))
    }

    fn start(
        &mut self,
        at: &TopicPartition,
        offset: Offset,
    ) -> std::result::Result<(), KafkaError> {
        let topic = match self.topics.get(&at.topic) {
            Some(topic) => Arc::clone(topic),
            None => {
                let topic = Arc::new(Topic::new(&self.handle, &at.topic)?);
                self.topics
                    .insert(Arc::clone(&at.topic), Arc::clone(&topic));
                topic
            }
        };
        // The queue first, so that nothing that is fetched goes elsewhere.
        let queue = Queue::partition(&self.handle, &at.topic, at.partition)?;
        topic.start(at.partition, offset)?;
        let source = Source {
            topic,
            queue,
            stash: VecDeque::new(),
            next: offset,
            bare: offset,
            at_end: false,
            doubted: false,
            told: false,
            asked_end: None,
            page: None,
            paged: None,
            spares: Vec::new(),
        };
        self.open.insert(at.clone(), source);
        self.broken_off.remove(at);
        Ok(())
    }

    /// Stops reading a partition.
    pub(crate) fn close(&mut self, at: &TopicPartition) {
        if let Some(source) = self.open.remove(at) {
            // Messages keep fetched buffers alive: they go first.
            drop(source.stash);
            if let Err(error) = source.topic.stop(at.partition) {
                tracing::debug!(%at, %error, "stopping to fetch");
            }
        }
    }

    /// Stops reading everything that `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl Fn(&TopicPartition) -> bool) {
        let gone: Vec<_> = self.open.keys().filter(|at| !keep(at)).cloned().collect();
        gone.iter().for_each(|at| self.close(at));
    }

    /// Whether something came that the reader was not told of yet.
    pub(crate) fn news(&mut self) -> bool {
        let mut news = false;
        for source in self.open.values_mut() {
            if source.stash.is_empty() {
                source.pump();
                source.told &= source.stash.is_empty();
            }
            if !source.stash.is_empty() && !source.told {
                source.told = true;
                news = true;
            }
        }
        news
    }

    /// The next records, up to both bounds; `None` where there are none now.
    pub(crate) fn take(
        &mut self,
        at: &TopicPartition,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Arc<RecordBatch>>> {
        let Some(source) = self.open.get_mut(at) else {
            return Ok(None);
        };
        source.pump();
        if source.stash.is_empty() {
            source.told = true;
            return Ok(None);
        }
        let mut batch = source.blank();
        let filled = match Arc::get_mut(&mut batch) {
            Some(batch) => source.fill(batch, records_max, bytes_max),
            None => Ok(()),
        };
        source.told = source.stash.is_empty();
        source.keep(&batch);
        let batch = (!batch.is_empty()).then_some(batch);
        match filled {
            Err(news) if batch.is_none() => self.failed(at, &news).map(|()| None),
            // What was read before comes first; the partition says the rest again.
            Err(news) => {
                tracing::debug!(%at, error = %news.error, "while fetching");
                self.failed(at, &news).or_else(|error| match error {
                    Error::Retry(_) | Error::OffsetOutOfRange { .. } => Ok(()),
                    error => Err(error),
                })?;
                Ok(batch)
            }
            Ok(()) => Ok(batch),
        }
    }

    /// The next page of a partition, or the rest of the last one.
    pub(crate) fn page(
        &mut self,
        at: &TopicPartition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Option<Records>> {
        // Its reader may never poll.
        self.handle.serve(Duration::ZERO);
        let now = (self.cluster.elapsed)();
        self.close_unread(now);
        if let Some(source) = self.open.get_mut(at) {
            source.paged = Some(now);
        }
        if let Some(source) = self.open.get(at)
            && let Some((asked, page)) = &source.page
            && (*asked..source.next).contains(&from)
        {
            let range = page.position_of(from)..page.len();
            let batch = Arc::clone(page);
            return Ok(Some(Records { batch, range }));
        }
        self.seek(at, from)?;
        let batch = self.take(at, usize::MAX, bytes_max)?;
        if let Some(source) = self.open.get_mut(at) {
            source.page = batch.clone().map(|batch| (from, batch));
            source.paged = Some(now);
        }
        Ok(batch.map(Records::all))
    }

    fn close_unread(&mut self, now: Duration) {
        let unread = |source: &Source| source.paged.is_some_and(|at| now > at + UNREAD);
        let open = self.open.iter();
        let gone = open.filter(|(_, source)| unread(source));
        let gone: Vec<_> = gone.map(|(at, _)| at.clone()).collect();
        gone.iter().for_each(|at| self.close(at));
    }

    /// What a partition's error comes to. Reading begins anew after one that must be heard.
    fn failed(&mut self, at: &TopicPartition, News { error, of }: &News) -> Result<()> {
        let out_of_range = matches!(
            error.code,
            Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
                | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
                | Code::RD_KAFKA_RESP_ERR__NO_OFFSET
                | Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION
        );
        if error.code == Code::RD_KAFKA_RESP_ERR__BAD_MSG {
            // librdkafka would leave the whole batch out and go on behind it.
            let why = format!("records of {at} are damaged: {error}");
            return Err(Error::Fatal(why));
        }
        if !out_of_range && reaction(error.code) == Reaction::Retry {
            // librdkafka goes on by itself.
            tracing::debug!(%at, %error, "while fetching");
            return Ok(());
        }
        let next = self.open.get(at).map_or(0, |source| source.next);
        self.close(at);
        if out_of_range {
            self.broken_off.insert(at.clone(), next);
            let told = self.out_of_range(at, next);
            if let Error::OffsetOutOfRange { start, end, .. } = told
                && is_old(*of, next, start..=end)
            {
                return self.seek(at, next);
            }
            return Err(told);
        }
        if is_unknown_topic(error.code) {
            return Err(Error::UnknownTopic(at.to_string()));
        }
        Err(refused("fetching", error))
    }

    pub(crate) fn out_of_range(&self, at: &TopicPartition, offset: Offset) -> Error {
        match (self.cluster.start(at), self.cluster.end(at)) {
            (Ok(start), Ok(end)) => Error::OffsetOutOfRange {
                partition: at.clone(),
                offset,
                start,
                end,
            },
            (Err(error), _) | (_, Err(error)) => error,
        }
    }

    /// Where reading of a partition was broken off, because the log has nothing there any more.
    pub(crate) fn broken_off(&self, at: &TopicPartition) -> Option<Offset> {
        self.broken_off.get(at).copied()
    }

    /// Where reading a partition goes on.
    pub(crate) fn position(&mut self, at: &TopicPartition) -> Option<Offset> {
        let source = self.open.get_mut(at)?;
        source.pump();
        Some(source.next)
    }

    /// The end of a partition as far as it is known without asking: exact once everything was
    /// handed out, else somewhere after it.
    ///
    /// Of a partition whose broker went away nobody knows the end, and what comes to it meanwhile
    /// is not quiet.
    pub(crate) fn end(&mut self, at: &TopicPartition) -> Option<Offset> {
        if self.handle.context().take_doubt() {
            // Also where the news of the end waits behind records that were not taken yet.
            let open = self.open.values_mut();
            open.for_each(|source| source.doubted = true);
        }
        let source = self.open.get_mut(at)?;
        source.pump();
        if source.at_end && source.stash.is_empty() {
            if !source.doubted {
                return Some(source.next);
            }
            // librdkafka says only once that there is no more, so it is asked for more again.
            let next = source.next;
            self.close(at);
            if let Err(error) = self.start(at, next) {
                tracing::debug!(%at, %error, "starting to fetch");
            }
        }
        let source = self.open.get_mut(at)?;
        let known = source.topic.known_end(&at.topic, at.partition);
        Some(known.unwrap_or(0).max(source.next + 1))
    }

    /// The end of a partition when the cluster was last asked, open transactions included; asks if
    /// it was not since [`Sources::forget_ends`].
    pub(crate) fn asked_end(&mut self, at: &TopicPartition) -> Result<Offset> {
        let known = self.open.get(at).and_then(|source| source.asked_end);
        if let Some(end) = known {
            return Ok(end);
        }
        let end = self.cluster.end_uncommitted(at)?;
        if let Some(source) = self.open.get_mut(at) {
            source.asked_end = Some(end);
        }
        Ok(end)
    }

    /// From here on an end must be asked for again: somebody may have written.
    pub(crate) fn forget_ends(&mut self) {
        for source in self.open.values_mut() {
            source.asked_end = None;
        }
    }
}

/// Whether it was said of an offset from which reading had begun before that it is out of range:
/// that one is, and where reading is now is not. Of a log that was cut off and has grown again
/// librdkafka says it with the offset where reading is, or with none, and that must be heard.
fn is_old(of: Offset, next: Offset, log: RangeInclusive<Offset>) -> bool {
    of >= 0 && of != next && !log.contains(&of) && log.contains(&next)
}

/// Copies a record; `false` where the batch takes no more.
fn push(batch: &mut RecordBatch, offset: Offset, message: &Message) -> bool {
    let headers: Headers = message.headers();
    batch.push(
        offset,
        RawRecord {
            key: message.key(),
            value: message.value(),
            timestamp: message.timestamp(),
            headers: &headers,
        },
    )
}
