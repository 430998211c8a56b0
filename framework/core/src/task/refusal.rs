//! How a refusal is answered: who is asked, and what is done then.
//!
//! Who says what becomes of a bad record, from the nearest on: the node that refused it, the source
//! it came from, the program, the configuration. Invariant: a record that is refused and does not
//! stop the thread is counted, and kept once in every dead-letter topic that a refusal of it names;
//! what handlers write themselves is written for each refusal.

use super::{
    DeadLetterRecord, ErrorHandler, ErrorHandlerContext, ErrorPolicy, ErrorReason, Letter,
    OutputId, Policies, RecordMetadata, Task, TaskConfig, TaskContext, counts::no_letters,
    handler::judge, place::Spot, policy,
};
use crate::{
    error::{Error, Result},
    record::{Headers, RawRecord, Timestamp},
    topology::Topology,
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};

/// What a task knows of who answers what.
#[derive(Default)]
pub(super) struct Answers {
    /// Of nodes that say so themselves, by their names.
    nodes: BTreeMap<String, ErrorHandler>,
    /// What the sources of each input say.
    pub(super) sources: Vec<Option<ErrorHandler>>,
    program: Option<ErrorHandler>,
    configured: Policies,
    /// Where dead letters go of which nobody says otherwise.
    dead_letters: Option<OutputId>,
}

impl Answers {
    /// Who is asked, the nearest first. What the commit or the clock brought forth is no source's.
    fn asked(&self, node: &str, source: Option<usize>) -> Vec<ErrorHandler> {
        let source = source.and_then(|input| self.sources.get(input)?.as_ref());
        let all = [self.nodes.get(node), source, self.program.as_ref()];
        all.into_iter().flatten().cloned().collect()
    }
}

/// A result that is told later than the record came that made it. Nobody knows any more which one
/// that was, so a dead letter says only this.
#[derive(Clone, Debug)]
pub(crate) struct HeldBack {
    pub(super) timestamp: Timestamp,
    headers: Headers,
}

/// A refusal met while one record ran through the operators, of which the answer may be known only
/// when that is done: code is shown the record as the task read it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(super) node: String,
    reason: ErrorReason,
    pub(super) error: Error,
    asked: Vec<ErrorHandler>,
    /// The time in hand when it happened.
    timestamp: Timestamp,
    /// What was refused in place of the record in hand.
    held: Option<HeldBack>,
}

impl TaskContext {
    /// Learns what becomes of bad records; `sources` are what those of each input say.
    ///
    /// # Errors
    /// Where some are to be kept and there is no topic for them.
    pub(super) fn answer_by(
        &mut self,
        topology: &Topology,
        config: &TaskConfig,
        sources: Vec<Option<ErrorHandler>>,
    ) -> Result<()> {
        let of_nodes = topology.nodes.iter();
        let of_nodes = of_nodes.filter_map(|node| Some((&*node.name, node.handler.as_ref()?)));
        let of_inputs = self.inputs.iter().zip(&sources);
        let of_inputs = of_inputs.filter_map(|(at, handler)| Some((&*at.topic, handler.as_ref()?)));
        let program = topology
            .handler
            .as_ref()
            .map(|handler| ("the program", handler));
        for (whose, handler) in of_nodes.clone().chain(of_inputs).chain(program) {
            if let Some(policy) = handler.always() {
                policy::check(config, policy.into(), whose)?;
            }
        }
        policy::check(config, config.policies, "the program")?;
        self.letters = no_letters(&self.inputs);
        let nodes = of_nodes.map(|(name, handler)| (name.to_owned(), handler.clone()));
        let topic = config.dead_letter_topic.as_deref();
        self.answers = Answers {
            nodes: nodes.collect(),
            sources,
            program: topology.handler.clone(),
            configured: config.policies,
            dead_letters: topic.map(|name| self.output_named(name)),
        };
        Ok(())
    }

    /// A node refused the record in hand, or could not write what it made of it.
    ///
    /// # Errors
    /// The error itself where it is known that the answer is to fail, and always where it is final.
    #[cold]
    pub(super) fn refuse_for(
        &mut self,
        reason: ErrorReason,
        node: &str,
        error: Error,
    ) -> Result<()> {
        // A processor hands on what happened downstream of it: that is no refusal of its own.
        if error.is_final() {
            return Err(error);
        }
        let asked = self.answers.asked(node, self.source);
        let known = match asked.first() {
            Some(first) => first.always(),
            None => Some(self.answers.configured.of(reason)),
        };
        let failure = Failure {
            node: node.to_owned(),
            reason,
            error,
            asked,
            timestamp: self.timestamp,
            held: self.held.clone(),
        };
        if known == Some(ErrorPolicy::Fail) {
            return Err(self.failed(failure));
        }
        self.failures.push(failure);
        Ok(())
    }

    /// The error of a refusal that stops the thread, and of which record it is: whoever must mend
    /// it has to find it first.
    fn failed(&self, failure: Failure) -> Error {
        let held = failure.held.as_ref();
        self.at_record(&failure.node, failure.error, held)
            .answered()
    }

    /// Calls `tell`, which sends a result downstream that was held back: what is refused of it is
    /// not the record in hand, which only let it out. Its source's policy answers all the same.
    pub(crate) fn telling<T>(
        &mut self,
        (timestamp, headers): (Timestamp, Headers),
        tell: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.held.replace(HeldBack { timestamp, headers });
        let told = tell(self);
        self.held = before;
        told
    }

    /// Where a refused record comes from.
    fn metadata_of(&self, bad: Option<Bad<'_>>) -> Option<RecordMetadata> {
        bad.map(|(input, Spot { offset, index }, _)| RecordMetadata {
            partition: self.inputs[input].clone(),
            offset,
            index,
        })
    }

    /// What those say who are asked about a refusal, and what they have written of it.
    fn judge(&self, failure: &Failure, bad: Option<Bad<'_>>) -> Result<Verdict> {
        let written = RefCell::default();
        let held = failure.held.as_ref();
        let from = self.metadata_of(bad);
        let record = bad.map(|(_, _, raw)| raw);
        let headers = record
            .map(|raw| raw.headers)
            .or(held.map(|held| &held.headers));
        let answer = judge(&ErrorHandlerContext {
            reason: failure.reason,
            error: &failure.error,
            node: &failure.node,
            task: Some(self.task_id()),
            timestamp: held.map_or(failure.timestamp, |held| held.timestamp),
            headers: headers.unwrap_or(&Headers::NONE),
            from: from.as_ref(),
            record,
            others: &failure.asked,
            configured: self.answers.configured,
            written: &written,
            next: Cell::new(None),
        })?;
        Ok((answer, written.into_inner()))
    }

    /// Where a refused record is kept, if it is.
    ///
    /// # Errors
    /// The refusal where the answer is to fail, and where there is no topic to keep it in.
    fn kept_in(&mut self, failure: &Failure, answer: ErrorPolicy) -> Result<Option<OutputId>> {
        match (answer, self.answers.dead_letters) {
            (ErrorPolicy::Fail | ErrorPolicy::Skip, _) => Ok(None),
            (ErrorPolicy::DeadLetterTo(topic), _) => Ok(Some(self.output_named(topic))),
            (ErrorPolicy::DeadLetter, Some(topic)) => Ok(Some(topic)),
            (ErrorPolicy::DeadLetter, None) => Err(policy::no_topic(&failure.node)),
        }
    }
}

/// A record that was refused: its input, where it lies there, and what it was when it was read.
type Bad<'a> = (usize, Spot, RawRecord<'a>);

/// What is answered to a refusal, and the records that are written with it.
type Verdict = (ErrorPolicy, Vec<DeadLetterRecord>);

impl Task {
    /// What no source of its topic could read closes no window, whatever its time says.
    #[cold]
    pub(super) fn turn_back_time(&mut self, number: usize, before: (Timestamp, Timestamp)) {
        let input = &mut self.inputs[number];
        let unread = std::mem::take(&mut self.ctx.unread);
        if unread > 0 && unread == input.pushes.len() {
            (self.ctx.stream_time, input.time) = before;
        }
    }

    /// Asks what becomes of the records that nodes refused, counts them, and writes the dead
    /// letters. `bad` is the record in hand; there is none where a punctuation or the commit made
    /// what was refused, and it is another one where that was held back. A dead letter then says
    /// only why, and each refusal has its own, while a record is kept only once: it can be put back
    /// into its topic. Of a record that is taken in hand again it is known where it has been kept
    /// before.
    ///
    /// # Errors
    /// Where the answer is to fail.
    #[cold]
    pub(super) fn settle_failures(&mut self, bad: Option<Bad<'_>>) -> Result<()> {
        let in_hand = self.ctx.in_hand.as_ref().filter(|_| bad.is_some());
        let kept = in_hand.map_or_else(Rc::default, |hand| hand.kept.clone());
        for failure in std::mem::take(&mut self.ctx.failures) {
            let bad = bad.filter(|_| failure.held.is_none());
            let (answer, written) = self.ctx.judge(&failure, bad)?;
            if answer == ErrorPolicy::Fail {
                return Err(self.ctx.failed(failure));
            }
            let keep = self.ctx.kept_in(&failure, answer)?;
            self.ctx.dropped.count(failure.reason);
            let again = |to: &OutputId| bad.is_some() && kept.borrow().contains(to);
            if let Some(to) = keep.filter(|to| !again(to)) {
                if bad.is_some() {
                    kept.borrow_mut().push(to);
                }
                self.write_letter(to, &failure, bad)?;
            }
            for letter in written {
                let to = match letter.topic {
                    Some(topic) => ErrorPolicy::DeadLetterTo(topic),
                    None => ErrorPolicy::DeadLetter,
                };
                if let Some(to) = self.ctx.kept_in(&failure, to)? {
                    self.count_letter(&failure, bad);
                    self.ctx.keep_written(to, &letter)?;
                }
            }
        }
        Ok(())
    }

    /// Counts a dead letter by where its record is from.
    fn count_letter(&mut self, failure: &Failure, bad: Option<Bad<'_>>) {
        self.ctx.dropped.dead_lettered += 1;
        let letter = Letter {
            source: bad.map(|(input, ..)| self.ctx.inputs[input].topic.clone()),
            reason: failure.reason.label(),
        };
        let letters = Arc::make_mut(&mut self.ctx.letters);
        *letters.entry(letter).or_default() += 1;
    }

    /// Writes a dead letter, and counts it.
    fn write_letter(
        &mut self,
        to: OutputId,
        failure: &Failure,
        bad: Option<Bad<'_>>,
    ) -> Result<()> {
        let held = failure.held.as_ref();
        let nothing = RawRecord {
            key: None,
            value: None,
            timestamp: held.map_or(failure.timestamp, |held| held.timestamp),
            headers: held.map_or(&Headers::NONE, |held| &held.headers),
        };
        let raw = bad.map_or(nothing, |(_, _, raw)| raw);
        let from = self.ctx.metadata_of(bad);
        self.count_letter(failure, bad);
        self.ctx.keep(to, raw, from.as_ref(), failure)
    }
}
