//! `on_error(..)`: who says what becomes of bad records.
//!
//! Invariant: of several who say it of one record the nearest to where it was refused is asked:
//! the operator or the sink, then its source, then the program.

use super::{KStream, KTable, StreamsBuilder};
use crate::{
    link::Data,
    task::ErrorHandler,
    topology::{Mistake, NodeId, NodeKind},
};
use std::panic::Location;

/// Operators that let every record pass, or drop it without a word.
const REFUSE_NOTHING: [&str; 13] = [
    "filter",
    "map_values",
    "map",
    "flat_map_values",
    "flat_map",
    "key_select",
    "peek",
    "merge",
    "branch",
    "branch_child",
    "child",
    "fused",
    "to_stream",
];

impl<K: Data, V: Data> KStream<'_, K, V> {
    /// Says what becomes of the records that the operator before this refuses, whatever their
    /// source and the program say: a `try_*` operator, a processor or a join. It may be code
    /// ([`ErrorHandler`]). Those of an aggregation are its table's:
    /// [`KTable::on_error`](super::KTable::on_error).
    /// Behind `stream(..)` it says so of the source, as
    /// [`Consumed::on_error`](super::Consumed::on_error).
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
    /// static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream(&TEXTS)
    ///     .try_map_values(|text| text.parse::<i64>())
    ///     .on_error(ErrorPolicy::DeadLetterTo("no-numbers"))
    ///     .to(&NUMBERS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&TEXTS, "a".to_owned(), "seven".to_owned(), 0)?;
    /// driver.pipe(&TEXTS, "a".to_owned(), "7".to_owned(), 1)?;
    /// assert_eq!(driver.read_key_values(&NUMBERS)?, [("a".to_owned(), Some(7))]);
    /// let (_, value, _, headers) = driver.read_raw("no-numbers").remove(0);
    /// assert_eq!(value.as_deref(), Some(&b"seven"[..]));
    /// let why = headers.last("__streams.errors.message").and_then(|why| why.value.as_deref());
    /// assert_eq!(why, Some(&b"invalid digit found in string"[..]));
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn on_error(self, answer: impl Into<ErrorHandler>) -> Self {
        let at = Location::caller();
        self.builder.answer(self.node, answer.into(), at);
        self
    }
}

impl<K: Data, V: Data> KTable<'_, K, V> {
    /// Says what becomes of the records that the operator which makes this table refuses, as
    /// [`KStream::on_error`] does: an aggregation, a join, or the reading of rows.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static PARTS: Topic<String, i64> = Topic::new("parts", utf8(), i64_be());
    /// static SUMS: Topic<String, i64> = Topic::new("sums", utf8(), i64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let add = |_: &String, part: i64, sum: &mut i64| {
    ///     *sum = sum.checked_add(part).ok_or("the sum is too large")?;
    ///     Ok::<_, &str>(())
    /// };
    /// let parts = builder.stream(&PARTS).group_by_key();
    /// parts.try_aggregate("sums", || 0, add).on_error(ErrorPolicy::Skip).to(&SUMS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for part in [1, i64::MAX, 2] {
    ///     driver.pipe(&PARTS, "a".to_owned(), part, 0)?;
    /// }
    /// let sums = driver.read_key_values(&SUMS)?;
    /// assert_eq!(sums, [("a".to_owned(), Some(1)), ("a".to_owned(), Some(3))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a table goes nowhere by itself"]
    pub fn on_error(self, answer: impl Into<ErrorHandler>) -> Self {
        let (builder, node) = (self.changes.builder, self.changes.node);
        builder.answer(node, answer.into(), Location::caller());
        self
    }
}

impl StreamsBuilder {
    /// Says what becomes of bad records where neither the operator that refuses them nor their
    /// source says it ([`KStream::on_error`], [`Consumed::on_error`](super::Consumed::on_error)),
    /// those of global tables too. It is in place of `deserialization.exception.handler`,
    /// `processing.exception.handler` and `production.exception.handler`; a handler is told what
    /// these say as [`otherwise`](crate::task::ErrorHandlerContext::otherwise).
    ///
    /// ```
    /// use millstream_core::{prelude::*, task::ErrorReason};
    ///
    /// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
    /// static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// // What the program's own code refuses is left out; all else is as it is configured.
    /// builder.on_error(ErrorHandler::new(|refused| match refused.reason() {
    ///     ErrorReason::Processing => ErrorPolicy::Skip,
    ///     _ => refused.otherwise(),
    /// }));
    /// builder.stream(&TEXTS).try_map_values(|text| text.parse::<i64>()).to(&NUMBERS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&TEXTS, "a".to_owned(), "seven".to_owned(), 0)?;
    /// driver.pipe(&TEXTS, "a".to_owned(), "7".to_owned(), 1)?;
    /// assert_eq!(driver.read_key_values(&NUMBERS)?, [("a".to_owned(), Some(7))]);
    /// // The configuration says to fail.
    /// assert!(driver.pipe_raw("texts", None, Some(b"\xff"), 2).is_err());
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn on_error(&self, answer: impl Into<ErrorHandler>) {
        let mut draft = self.draft.borrow_mut();
        let at = Location::caller();
        if let Some((_, first)) = draft.handler.replace((answer.into(), at)) {
            let text = format!("the program says at {first} already what becomes of bad records");
            draft.mistakes.push(Mistake { at, text });
        }
    }

    /// Says what becomes of bad records of a node; of a source, of all that comes from it.
    pub(crate) fn answer(
        &self,
        node: NodeId,
        answer: ErrorHandler,
        at: &'static Location<'static>,
    ) {
        let mut draft = self.draft.borrow_mut();
        let node = &mut draft.nodes[node.0];
        match &mut node.kind {
            NodeKind::Source { handler, .. } => *handler = Some(answer),
            NodeKind::Operator | NodeKind::Sink { .. } => node.handler = Some(answer),
        }
        if REFUSE_NOTHING.contains(&node.label) {
            let text = format!(
                "on_error(..) is about the operator before it, and {}(..) refuses no record",
                node.label
            );
            draft.mistakes.push(Mistake { at, text });
        }
    }
}
