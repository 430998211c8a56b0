//! Standard output and standard error of a program whose reader may be gone.
//!
//! Invariant: a reader that has seen enough, as `head` has, is no failure and no panic: what was
//! left to say is not said, and the program's end is what it would have been.

use anyhow::{Context, Result};
use std::{
    fmt::Display,
    io::{self, BufWriter, ErrorKind, Write},
};

/// Shows on standard output what a user asked for.
///
/// # Errors
/// Where it cannot be written, as to a disk that is full.
pub(crate) fn show(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    show_in(io::stdout().lock(), write).context("writing to standard output")
}

fn show_in(
    stream: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(stream);
    let written = write(&mut out).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // What is left in the buffer would be tried once more when it is dropped.
            drop(out.into_parts());
            Ok(())
        }
        other => other,
    }
}

/// Says a line to whoever looks at standard error; whether anybody does changes nothing.
pub(crate) fn say(line: impl Display) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and then fails.
    struct Pipe(usize, ErrorKind);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(self.1.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn rows(room: usize, failure: ErrorKind) -> io::Result<()> {
        show_in(Pipe(room, failure), |out| {
            (0..10_000).try_for_each(|row| writeln!(out, "row {row}"))
        })
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_one() {
        for room in [0, 10, 20_000] {
            assert!(rows(room, ErrorKind::BrokenPipe).is_ok(), "{room}");
            let failed = rows(room, ErrorKind::StorageFull).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::StorageFull, "{room}");
        }
        assert!(rows(usize::MAX, ErrorKind::Other).is_ok());
    }
}
