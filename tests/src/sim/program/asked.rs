//! Programs that ask somebody outside about every record.
//!
//! Invariant: what comes of a question follows from the record alone, however often it is asked:
//! attempts fail, or are never answered, as a seed says, but there are so many of them that one is
//! answered.

use super::{Asked, Cut, OUT, SIDE, Script, duration, rows, sum, windows};
use millstream_core::{calls::AsyncConfig, prelude::*};
use millstream_log::Rng;
use std::{
    future::{pending, poll_fn},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

/// Of three attempts about one fails.
const RETRIES: u32 = 20;
/// How many numbers there are for each that is refused.
const REFUSED: i64 = 11;
/// How often an answer is looked for before it is there, at most.
const TURNS: u64 = 5;

/// What befalls attempts.
type Luck = Arc<Mutex<Rng>>;

impl Script {
    pub(super) fn asked(&self, builder: &StreamsBuilder, asked: Asked) {
        let luck = Arc::new(Mutex::new(Rng::new(self.asking.luck)));
        let stream = self.left(builder);
        let ask = |stream, name| self.ask(stream, name, AsyncConfig::new(), &luck);
        match asked {
            Asked::Sum => sum(ask(stream, "asked").group_by_key()).to(&OUT),
            Asked::Unordered => {
                let unordered = AsyncConfig::new().unordered();
                let answers = self.ask(stream, "asked", unordered, &luck);
                sum(answers.group_by_key()).to(&OUT);
            }
            Asked::Joined => {
                let join = |v: i64, row: Option<&i64>| v * 1000 + row.copied().unwrap_or(-1);
                let joined = stream.left_join(rows(builder), join);
                sum(ask(joined, "asked").group_by_key()).to(&OUT);
            }
            Asked::Moved => {
                let topic = Repartitioned::from("moved").partitions(self.partitions);
                let moved = ask(stream, "asked").select_key(|_, v| format!("m{}", v % 5));
                let again = ask(moved.repartition(topic), "asked-again");
                sum(again.group_by_key()).to(&OUT);
            }
            Asked::Changes => {
                let sums = sum(stream.group_by_key()).to_stream();
                // Which changes there are depends on commits where tables tell changes with them,
                // so none may be refused.
                let sums = sums.map_values(|sum: Option<i64>| sum.unwrap_or(-1) * REFUSED);
                let latest = |_, new| new;
                let answers = ask(sums, "asked").group_by_key();
                answers.reduce("latest", latest).to(&OUT);
            }
            Asked::Closing => {
                let grouped = ask(stream, "asked").group_by_key();
                let closing = EmitStrategy::OnWindowClose;
                windows::told(self.cut(grouped, Cut::Tumbling, closing));
            }
            Asked::Suppressed => {
                let grouped = ask(stream, "asked").group_by_key();
                let sessions = self.cut(grouped, Cut::Session, EmitStrategy::OnWindowUpdate);
                let until = Suppressed::until_window_closes(BufferConfig::unbounded());
                windows::told(sessions.suppress("held", until));
            }
        }
    }

    /// Puts the answer in place of each number; those that nobody answers are put aside.
    fn ask<'b>(
        &self,
        stream: KStream<'b, String, i64>,
        name: &'static str,
        config: AsyncConfig,
        luck: &Luck,
    ) -> KStream<'b, String, i64> {
        let config = config.concurrency(self.asking.calls).timeout(duration(1));
        let config = config.retries(RETRIES, duration(1));
        let luck = luck.clone();
        stream
            .map_async(name, config, move |_, number| answer(luck.clone(), number))
            .on_error(ErrorPolicy::DeadLetterTo(SIDE.name))
    }
}

/// One attempt.
async fn answer(luck: Luck, number: i64) -> Result<i64, String> {
    let (fate, mut turns) = {
        let mut luck = luck.lock().unwrap_or_else(PoisonError::into_inner);
        (luck.below(12), luck.below(TURNS))
    };
    match fate {
        0 => pending().await,
        1 | 2 => return Err("not now".to_owned()),
        _ => {}
    }
    poll_fn(|cx| {
        if turns == 0 {
            return Poll::Ready(());
        }
        turns -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    if number.rem_euclid(REFUSED) == 3 {
        return Err(format!("nobody answers {number}"));
    }
    Ok(number * 2 + 1)
}
