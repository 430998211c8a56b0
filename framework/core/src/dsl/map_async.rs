//! `map_async`: values that come from outside the program, by calls that take their time.
//!
//! Many calls are out at once, but of each key at most one. Invariants: what comes out of a key is
//! in the order of what went in; and unless the program asks for less, so is what comes out of all
//! keys together, whichever call ended first.

use super::{Fun, KStream, process::unboxed};
use crate::{
    calls::{Answer, AsyncConfig, Call, Executor, Inbox, Slot, attempts},
    error::{Error, Result},
    link::{Data, Fanout},
    record::Record,
    task::{Calls, Origin, TaskContext},
    topology::ASYNCHRONOUS,
};
use hashbrown::HashSet;
use std::{cell::RefCell, collections::VecDeque, hash::Hash, panic::Location, rc::Rc, sync::Arc};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the call for a key and a value.
type Begin<K, V, W> = Box<dyn Fn(&K, V, &Inbox) -> (Slot<W>, Call)>;

/// The records between the two ends of the operator, in one task.
struct Flow<K, V, W> {
    name: String,
    config: AsyncConfig,
    begin: Begin<K, V, W>,
    executor: Arc<dyn Executor>,
    down: Fanout<K, W>,
    inbox: Inbox,
    /// In the order in which they came.
    records: VecDeque<Flowing<K, V, W>>,
    /// How many calls are out.
    running: usize,
    /// Keys of which a call is out; never iterated.
    busy: HashSet<K>,
    /// Whether a record may be waiting whose call could be made.
    waiting: bool,
}

struct Flowing<K, V, W> {
    record: Record<K, ()>,
    origin: Origin,
    stage: Stage<V, W>,
}

enum Stage<V, W> {
    /// Its call is still to be made; `None` once it was.
    Waiting(Option<V>),
    Running(Slot<W>),
    Answered(Answer<W>),
}

impl<K: Data + Hash + Eq, V: Data, W: Data> Flow<K, V, W> {
    fn push(&mut self, ctx: &TaskContext, record: Record<K, V>) {
        let Record {
            key,
            value,
            timestamp,
            headers,
        } = record;
        self.records.push_back(Flowing {
            record: Record {
                key,
                value: (),
                timestamp,
                headers,
            },
            origin: ctx.origin(),
            stage: Stage::Waiting(Some(value)),
        });
        self.waiting = true;
        self.begin();
    }

    /// Makes the calls that may be made: of each key the first that has none, while there is room.
    fn begin(&mut self) {
        if !std::mem::take(&mut self.waiting) {
            return;
        }
        for flowing in &mut self.records {
            let Stage::Waiting(value) = &mut flowing.stage else {
                continue;
            };
            if self.running >= self.config.concurrency {
                self.waiting = true;
                return;
            }
            let key = &flowing.record.key;
            if self.busy.contains(key) {
                continue;
            }
            let Some(value) = value.take() else { continue };
            self.busy.insert(key.clone());
            let (slot, call) = (self.begin)(key, value, &self.inbox);
            flowing.stage = Stage::Running(slot);
            self.running += 1;
            self.executor.spawn(call);
        }
    }

    /// Notes what has been answered since the last look.
    fn collect(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        for flowing in &mut self.records {
            let Stage::Running(slot) = &flowing.stage else {
                continue;
            };
            if let Some(answer) = slot.take() {
                flowing.stage = Stage::Answered(answer);
                self.busy.remove(&flowing.record.key);
                self.running -= 1;
                self.waiting = true;
            }
        }
        self.begin();
    }

    /// The next record that goes on, and what it was answered.
    fn next(&mut self) -> Option<(Record<K, ()>, Origin, Answer<W>)> {
        let answered = |flowing: &Flowing<K, V, W>| matches!(flowing.stage, Stage::Answered(_));
        let first = if self.config.ordered {
            self.records
                .front()
                .filter(|first| answered(first))
                .map(|_| 0)
        } else {
            self.records.iter().position(answered)
        };
        let Flowing {
            record,
            origin,
            stage,
        } = self.records.remove(first?)?;
        match stage {
            Stage::Answered(answer) => Some((record, origin, answer)),
            Stage::Waiting(_) | Stage::Running(_) => None,
        }
    }
}

impl<K: Data + Hash + Eq, V: Data, W: Data> Calls for Rc<RefCell<Flow<K, V, W>>> {
    fn step(&mut self, ctx: &mut TaskContext) -> Result<Option<Origin>> {
        let flow = &mut *self.borrow_mut();
        flow.collect();
        let Some((record, origin, answer)) = flow.next() else {
            return Ok(None);
        };
        ctx.go_on(&origin, record.timestamp);
        match answer {
            Answer::Given(Ok(value)) => flow.down.push(ctx, record.with_value(value))?,
            Answer::Given(Err(error)) => ctx.refuse(&flow.name, error)?,
            // It panicked, or nobody runs calls any more: that is not about the record.
            Answer::Abandoned => {
                let text = format!("a call of {} ended without an answer", flow.name);
                return Err(Error::processing(text));
            }
        }
        Ok(Some(origin))
    }

    fn outstanding(&self) -> usize {
        self.borrow().records.len()
    }

    fn is_full(&self) -> bool {
        let flow = self.borrow();
        flow.records.len() >= flow.config.concurrency
    }

    fn clear(&mut self) {
        let flow = &mut *self.borrow_mut();
        flow.records.clear();
        flow.busy.clear();
        (flow.running, flow.waiting) = (0, false);
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Makes another value of each value by a call that takes its time: a query, a request to a
    /// service. The operator's name is what errors and dead letters say.
    ///
    /// Up to [`AsyncConfig::concurrency`] records of a task have calls out, of each key at most
    /// one, so that what comes of a key comes in order; what comes of all keys does too, unless
    /// [`AsyncConfig::unordered`] is asked for. Records keep key, time and headers. Null keys are
    /// keys like others.
    ///
    /// A call that fails or takes too long is made again as often as
    /// [`AsyncConfig::retries`] says; then the record is refused, and the operator's policy
    /// ([`KStream::on_error`]) decides, or else the source's or the program's.
    ///
    /// Results are exactly once, as all results are: there is no commit before all calls of a task
    /// are answered and what came of them has gone downstream. What a call does outside is *at
    /// least* once: after a crash the calls since the last commit are made again.
    ///
    /// Calls run on threads of the runtime's, where `tokio` is to be had. The test driver runs them
    /// one after another, without threads ([`InlineExecutor`](crate::calls::InlineExecutor)).
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// static USERS: Topic<String, u32> = Topic::new("users", utf8(), u32_be());
    /// static NAMES: Topic<String, String> = Topic::new("names", utf8(), utf8());
    ///
    /// async fn look_up(id: u32) -> Result<String, std::io::Error> {
    ///     Ok(format!("user {id}"))
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let config = AsyncConfig::new()
    ///     .concurrency(64)
    ///     .timeout(Duration::from_secs(1))
    ///     .retries(3, Duration::from_millis(100));
    /// builder
    ///     .stream(&USERS)
    ///     .map_async("enrich", config, |_, id| look_up(id))
    ///     .on_error(ErrorPolicy::DeadLetterTo("users-unknown"))
    ///     .to(&NAMES);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&USERS, "a".to_owned(), 7, 0)?;
    /// let names = driver.read_key_values(&NAMES)?;
    /// assert_eq!(names, [("a".to_owned(), Some("user 7".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn map_async<W, E, F>(
        self,
        name: &'static str,
        config: AsyncConfig,
        call: impl Fn(K, V) -> F + Fun,
    ) -> KStream<'b, K, W>
    where
        K: Hash + Eq + Send,
        V: Send,
        W: Data + Send,
        E: Into<BoxError>,
        F: Future<Output = std::result::Result<W, E>> + Send + 'static,
    {
        let call = Arc::new(call);
        let mapped = self.operator(ASYNCHRONOUS, vec![], move |link| {
            let flow = link.context.executor().map(|executor| {
                let flow = Flow {
                    name: name.to_owned(),
                    config,
                    begin: beginning(call.clone(), config, executor.clone()),
                    executor,
                    down: link.downstream(),
                    inbox: Inbox::default(),
                    records: VecDeque::new(),
                    running: 0,
                    busy: HashSet::new(),
                    waiting: false,
                };
                Rc::new(RefCell::new(flow))
            });
            link.calls
                .extend(flow.clone().map(|flow| Box::new(flow) as Box<dyn Calls>));
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                // A task is not opened without an executor.
                if let Some(flow) = &flow {
                    flow.borrow_mut().push(ctx, record);
                }
                Ok(())
            }
        });
        self.builder.rename(mapped.node, name, Location::caller());
        mapped
    }
}

/// How the calls of an operator are made.
fn beginning<K, V, W, E, F>(
    call: Arc<impl Fn(K, V) -> F + Fun>,
    config: AsyncConfig,
    executor: Arc<dyn Executor>,
) -> Begin<K, V, W>
where
    K: Data + Send,
    V: Data + Send,
    W: Data + Send,
    E: Into<BoxError>,
    F: Future<Output = std::result::Result<W, E>> + Send + 'static,
{
    Box::new(move |key, value, inbox| {
        let (call, key) = (call.clone(), key.clone());
        let attempt = move || {
            let work = call(key.clone(), value.clone());
            async move { work.await.map_err(|error| unboxed(error.into())) }
        };
        Slot::around(attempts(attempt, config, executor.clone()), inbox)
    })
}
