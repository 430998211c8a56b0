//! Files that sources read: line by line, from a path of the user's or from the cache.
//!
//! Invariant: a line takes a bounded amount of memory, whatever the file is.

use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// The longest line that is taken; what is longer is no text but a mistake.
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

    /// The next line with its end, as it is in the file; `None` behind the last one.
    ///
    /// # Errors
    /// Where the file cannot be read, or a line is too long to be one.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let mut bounded = Read::take(&mut self.file, limit);
        bounded.read_until(b'\n', &mut self.line)?;
        if self.line.len() > LINE_BYTES_MAX {
            bail!("a line is longer than {LINE_BYTES_MAX} bytes: is this a text file?");
        }
        Ok((!self.line.is_empty()).then_some(&self.line))
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
