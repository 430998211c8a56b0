//! Where streams are printed to: the console and files, which the core does not know.
//!
//! Invariant: nothing is opened or written before there is a line, so that a program which is only
//! described leaves its files as they are.

use millstream_core::dsl::Printed;
use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

/// Makes the [`Printed`] of the outside world, by the names that they have in Kafka Streams.
///
/// ```
/// use millstream::prelude::*;
///
/// static WORDS: Topic<String, u64> = Topic::new("words", utf8(), u64_be());
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("words.txt");
///
/// let builder = StreamsBuilder::new();
/// let words = builder.stream(&WORDS);
/// words.print(Printed::to_sys_out().with_label("words"));
/// let text = |word: &String, count: &u64| format!("{word} {count}");
/// words.print(Printed::to_file(&path).with_key_value_mapper(text));
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&WORDS, "hello".to_owned(), 7, 0)?;
/// assert_eq!(std::fs::read_to_string(&path)?, "[source-words]: hello 7\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait PrintTo {
    /// To standard output, between the lines of whatever else writes there.
    fn to_sys_out() -> Self;

    /// To standard error.
    fn to_sys_err() -> Self;

    /// To a file, which is made, or made anew, when there is the first line to write. A program
    /// that prints several streams into one file has one `Printed` for it, and copies of that.
    fn to_file(path: impl Into<PathBuf>) -> Self;
}

impl PrintTo for Printed {
    fn to_sys_out() -> Self {
        Self::to_writer(io::stdout())
    }

    fn to_sys_err() -> Self {
        Self::to_writer(io::stderr())
    }

    fn to_file(path: impl Into<PathBuf>) -> Self {
        Self::to_writer(Later {
            path: path.into(),
            file: None,
        })
    }
}

/// A file that is opened when something is written to it.
struct Later {
    path: PathBuf,
    file: Option<File>,
}

impl Later {
    fn says(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }
}

impl Write for Later {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opened = File::create(&self.path).map_err(|error| self.says(&error))?;
                self.file.insert(opened)
            }
        };
        match file.write(bytes) {
            // To be tried again, which is for whoever asks to see by its kind.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            other => other.map_err(|error| self.says(&error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // What a file was given, the system has.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::prelude::*;
    use std::fs;

    static WORDS: Topic<String, u64> = Topic::new("words", utf8(), u64_be());

    #[test]
    fn a_file_is_made_anew_by_the_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words");
        fs::write(&path, "before").unwrap();
        let builder = StreamsBuilder::new();
        let (words, printed) = (builder.stream(&WORDS), Printed::to_file(&path));
        words.print(printed.clone().with_label("a"));
        words.print(printed.with_label("b"));
        let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        for count in 0..2 {
            driver.pipe(&WORDS, "x".to_owned(), count, 0).unwrap();
        }
        let expected = "[a]: \"x\", 0\n[b]: \"x\", 0\n[a]: \"x\", 1\n[b]: \"x\", 1\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_file_that_cannot_be_refuses_records_and_says_which() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("there/is/none");
        let builder = StreamsBuilder::new();
        builder.stream(&WORDS).print(Printed::to_file(&path));
        let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
        let error = driver.pipe(&WORDS, "x".to_owned(), 0, 0).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn a_file_that_could_not_be_is_asked_for_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later/words");
        let mut later = Later {
            path: path.clone(),
            file: None,
        };
        later.write_all(b"lost\n").unwrap_err();
        fs::create_dir(path.parent().unwrap()).unwrap();
        later.write_all(b"line\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\n");
    }

    #[test]
    fn a_disk_that_is_full_is_an_error_that_names_the_file() {
        let mut full = Later {
            path: "/dev/full".into(),
            file: None,
        };
        let error = full.write_all(b"line\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("/dev/full: "), "{error}");
    }
}
