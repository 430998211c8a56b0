//! `print`: records as lines of text, for people who look on.
//!
//! Invariant: a line is written whole while nobody else writes to the same place, so those of
//! several threads are never torn; and a place that cannot be written refuses the record.

use super::{Fun, KStream};
use crate::{
    error::{Error, Result},
    link::Data,
    record::Record,
    task::{ErrorHandler, TaskContext},
};
use std::{
    fmt::{Debug, Write as _},
    io::{self, Write},
    panic::Location,
    sync::{Arc, Mutex, PoisonError},
};

/// Where all that print write, one at a time.
type Place = Arc<Mutex<dyn Write + Send>>;

/// Where [`KStream::print`] writes its lines, and how they read. Kafka's `Printed`.
///
/// The crate `millstream` has those of the console and of files, `Printed::to_sys_out()`,
/// `to_sys_err()` and `to_file(path)`. The copies of one `Printed` write to one place in turns.
pub struct Printed<T = AsDebug> {
    to: Place,
    text: T,
    label: Option<String>,
    name: Option<String>,
    handler: Option<ErrorHandler>,
}

/// The text of a record unless the program has one: key and value as [`Debug`] shows them.
#[derive(Clone, Copy, Debug)]
pub struct AsDebug;

/// The program's own text of a record.
pub struct Mapped<K, V>(Arc<Mapper<K, V>>);

type Mapper<K, V> = dyn Fn(&K, &V) -> String + Send + Sync;

impl<K, V> Clone for Mapped<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What makes text of records with these keys and values.
pub trait RecordText<K, V>: Fun {
    /// Adds a record's text to a line.
    fn add_to(&self, line: &mut String, key: &K, value: &V);
}

impl<K: Debug, V: Debug> RecordText<K, V> for AsDebug {
    fn add_to(&self, line: &mut String, key: &K, value: &V) {
        // What a `Debug` could not show is left out: a line is no place to fail at.
        let _ = write!(line, "{key:?}, {value:?}");
    }
}

impl<K: 'static, V: 'static> RecordText<K, V> for Mapped<K, V> {
    fn add_to(&self, line: &mut String, key: &K, value: &V) {
        line.push_str(&(self.0)(key, value));
    }
}

impl Printed {
    /// Writes lines there, each by one call of `write_all`, and flushes behind each.
    pub fn to_writer(to: impl Write + Send + 'static) -> Self {
        Self {
            to: Arc::new(Mutex::new(to)),
            text: AsDebug,
            label: None,
            name: None,
            handler: None,
        }
    }

    /// Another text than key and value as [`Debug`] shows them, `key, value`; it stands behind the
    /// label all the same.
    #[must_use]
    pub fn with_key_value_mapper<K, V>(
        self,
        text: impl Fn(&K, &V) -> String + Fun,
    ) -> Printed<Mapped<K, V>> {
        let Self {
            to,
            text: AsDebug,
            label,
            name,
            handler,
        } = self;
        Printed {
            to,
            text: Mapped(Arc::new(text)),
            label,
            name,
            handler,
        }
    }
}

impl<T> Printed<T> {
    /// What stands in front of each line. Without it, it is the name of the operator that is
    /// printed, which is known when the program has been built.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What the printing is called (Kafka's `Printed.withName`), as [`KStream::named`] says.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What becomes of records whose lines cannot be written, whatever their source and the program
    /// say.
    #[must_use]
    pub fn on_error(mut self, answer: impl Into<ErrorHandler>) -> Self {
        self.handler = Some(answer.into());
        self
    }
}

impl<T: Clone> Clone for Printed<T> {
    fn clone(&self) -> Self {
        Self {
            to: self.to.clone(),
            text: self.text.clone(),
            label: self.label.clone(),
            name: self.name.clone(),
            handler: self.handler.clone(),
        }
    }
}

impl<K: Data, V: Data> KStream<'_, K, V> {
    /// Ends the stream in lines of text, `[label]: key, value`, one for each record, for people who
    /// look on; [`peek`](KStream::peek) looks at a stream that goes on.
    ///
    /// The lines are not part of the commit: what is done again after a crash is printed again, and
    /// they come before what they are about is visible to others. A record whose line cannot be
    /// written, because nobody reads the pipe any more or the disk is full, is refused, as by
    /// [`try_for_each`](KStream::try_for_each): the program stops there, or goes on as its error
    /// policies or [`Printed::on_error`] say. (Kafka Streams says nothing, and prints no more.)
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::io::{BufRead, BufReader, pipe};
    ///
    /// static WORDS: Topic<String, String> = Topic::new("words", utf8(), utf8());
    ///
    /// let (reader, writer) = pipe()?;
    /// let printed = Printed::to_writer(writer);
    /// let builder = StreamsBuilder::new();
    /// let words = builder.stream(&WORDS);
    /// words.print(printed.clone());
    /// words.map_values(|word| word.len()).print(printed.clone().with_label("lengths"));
    /// let text = |key: &String, word: &String| format!("{key} says {word}");
    /// words.print(printed.with_label("text").with_key_value_mapper(text));
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&WORDS, "ann".to_owned(), "hello".to_owned(), 0)?;
    /// let mut lines = BufReader::new(reader).lines();
    /// assert_eq!(lines.next().unwrap()?, r#"[source-words]: "ann", "hello""#);
    /// assert_eq!(lines.next().unwrap()?, r#"[lengths]: "ann", 5"#);
    /// assert_eq!(lines.next().unwrap()?, "[text]: ann says hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn print<T: RecordText<K, V>>(self, printed: Printed<T>) {
        let Printed {
            to,
            text,
            label,
            name,
            handler,
        } = printed;
        let (builder, at, text) = (self.builder, Location::caller(), Arc::new(text));
        let ended = self.operator::<K, V, _>("print", vec![], move |link| {
            let label = label.as_deref().unwrap_or_else(|| link.parent_name());
            let start = format!("[{label}]: ");
            let (to, text, name) = (to.clone(), text.clone(), link.name().to_owned());
            let mut line = String::new();
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                line.clear();
                line.push_str(&start);
                text.add_to(&mut line, &record.key, &record.value);
                line.push('\n');
                write_line(&to, &line).or_else(|error| ctx.refuse(&name, error))
            }
        });
        if let Some(name) = name {
            builder.rename(ended.node, &name, at);
        }
        if let Some(handler) = handler {
            builder.answer(ended.node, handler, at);
        }
    }
}

fn write_line(to: &Mutex<dyn Write + Send>, line: &str) -> Result<()> {
    // Who panicked while writing has left a part of a line, which is no reason to print no more.
    let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
    let written = to.write_all(line.as_bytes()).and_then(|()| to.flush());
    written.map_err(unwritten)
}

#[cold]
fn unwritten(error: io::Error) -> Error {
    Error::processing(error).at("a line cannot be printed".to_owned())
}
