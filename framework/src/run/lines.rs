//! Files that sources read: line by line, from a path of the user's or from the cache.
//!
//! Invariant: a line takes a bounded amount of memory, whatever the file is.

use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// The longest line that is taken.
const LINE_BYTES_MAX: usize = 8 << 20;

/// The lines of a file.
pub struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// Where it cannot be opened, or is a directory.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        // A directory opens like a file and only fails when read, by when nobody knows its name.
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            bail!("{} is a directory, not a file of lines", path.display());
        }
        Ok(Self {
            file: BufReader::new(file),
            line: Vec::new(),
        })
    }

    /// The next line with its end, as it is in the file; `None` behind the last one. Of a line
    /// longer than 8 MiB, which is passed over, it is only told why.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn next_line(&mut self) -> Result<Option<Result<&[u8], String>>> {
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let mut bounded = Read::take(&mut self.file, limit);
        bounded.read_until(b'\n', &mut self.line)?;
        if self.line.len() <= LINE_BYTES_MAX {
            return Ok((!self.line.is_empty()).then_some(Ok(&self.line)));
        }
        if self.line.last() != Some(&b'\n') {
            self.file.skip_until(b'\n')?;
        }
        let why = format!("it is longer than {LINE_BYTES_MAX} bytes");
        Ok(Some(Err(why)))
    }
}

/// A file that an app's `fetch-data` has put into the cache, where it is there.
pub fn fetched(name: &str) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)?;
    let file = cache.join("millstream/data").join(name);
    file.exists().then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_line_that_is_too_long_is_passed_over_to_its_end() -> Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        let long = vec![b'x'; LINE_BYTES_MAX];
        // One that fits, one that is too long by its end alone, and one by far.
        for (times, end) in [(0, "one\n"), (1, "\n"), (3, "x\n"), (0, "two")] {
            for _ in 0..times {
                file.write_all(&long)?;
            }
            file.write_all(end.as_bytes())?;
        }
        let mut lines = Lines::open(file.path())?;
        let mut found = Vec::new();
        while let Some(line) = lines.next_line()? {
            found.push(line.map(<[u8]>::to_vec));
        }
        let why = || Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
        assert_eq!(
            found,
            [Ok(b"one\n".to_vec()), why(), why(), Ok(b"two".to_vec())]
        );
        Ok(())
    }
}
