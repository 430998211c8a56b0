//! Where the invoice lines come from: a file, or the generator.

use crate::{
    generate::Generator,
    model::Line,
    parse::{Parsed, parse},
};
use anyhow::Result;
use millstream::run::{self, Lines, Next};

/// Invoice lines in a fixed order.
pub(crate) enum Source {
    File(Lines),
    Generated(Generator),
}

impl run::Source<String, Line> for Source {
    fn next(&mut self, _: u64) -> Result<Next<String, Line>> {
        let lines = match self {
            Self::File(lines) => lines,
            Self::Generated(lines) => {
                let record = |(product, line, time)| Next::Record(product, line, time);
                return Ok(lines.next().map_or(Next::End, record));
            }
        };
        while let Some(line) = lines.next_line()? {
            match line.and_then(parse) {
                // Files that were put together have more than one.
                Ok(Parsed::Header) => {}
                Ok(Parsed::Line(product, line, time)) => {
                    return Ok(Next::Record(product, line, time));
                }
                Err(why) => return Ok(Next::Malformed(why)),
            }
        }
        Ok(Next::End)
    }
}
