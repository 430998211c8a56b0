//! Scripts with what is hard on programs: records out of order, late, at the same time, without
//! key or value, and twice. Invariant: equal throws of the dice give equal scripts.

use super::{Dice, Op, Step};
use millstream_core::record::Timestamp;

/// The keys of records.
const KEYS: [&str; 3] = ["k1", "k2", "x3"];

/// How much of what a script has, in percent of its steps.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// What it is called.
    pub name: &'static str,
    /// The fewest and most steps.
    pub steps: (i64, i64),
    /// How many keys there are, of three.
    pub keys: usize,
    /// Records a little behind the newest.
    pub behind: i64,
    /// Records far behind the newest.
    pub late: i64,
    /// Records without a key.
    pub no_key: i64,
    /// Records without a value.
    pub no_value: i64,
    /// Steps that come once more.
    pub again: i64,
    /// Records at the time of the one before.
    pub together: i64,
    /// Long times without a record.
    pub pauses: i64,
    /// Records with a header.
    pub headed: i64,
    /// Moves of the wall clock.
    pub clock: i64,
    /// Records whose value is no number.
    pub bad: i64,
    /// Records with a negative time.
    pub negative: i64,
    /// Whether the program may go on at bytes that are no number.
    pub lenient: bool,
}

impl Mix {
    /// All of it.
    pub const ANY: Self = Self {
        name: "any",
        steps: (3, 40),
        keys: KEYS.len(),
        behind: 30,
        late: 10,
        no_key: 6,
        no_value: 12,
        again: 5,
        together: 50,
        pauses: 10,
        headed: 10,
        clock: 5,
        bad: 0,
        negative: 0,
        lenient: false,
    };
    /// Nothing out of the ordinary.
    const PLAIN: Self = Self {
        name: "in order",
        steps: (14, 14),
        keys: KEYS.len(),
        behind: 0,
        late: 0,
        no_key: 0,
        no_value: 0,
        again: 0,
        together: 10,
        pauses: 15,
        headed: 0,
        clock: 8,
        bad: 0,
        negative: 0,
        lenient: false,
    };
    /// One for each thing that is hard.
    pub const EACH: [Self; 5] = [
        Self::PLAIN,
        Self {
            name: "out of order",
            behind: 50,
            headed: 20,
            ..Self::PLAIN
        },
        Self {
            name: "late",
            behind: 10,
            late: 35,
            pauses: 25,
            ..Self::PLAIN
        },
        Self {
            name: "nulls",
            behind: 15,
            no_key: 15,
            no_value: 30,
            ..Self::PLAIN
        },
        Self {
            name: "twice",
            behind: 15,
            again: 40,
            together: 50,
            ..Self::PLAIN
        },
    ];
}

/// What happens to a program.
pub fn script(dice: &mut Dice, nodes: &[Op], mix: &Mix) -> Vec<Step> {
    let topics: Vec<_> = nodes.iter().filter_map(Op::source).cloned().collect();
    let mut steps: Vec<Step> = Vec::new();
    let (mut time, mut clock) = (dice.between(0, 20), 0);
    for _ in 0..dice.between(mix.steps.0, mix.steps.1) {
        if dice.percent(mix.clock) {
            clock += dice.between(0, 40);
            steps.push(Step::Clock((clock,)));
        } else if !steps.is_empty() && dice.percent(mix.again) {
            let again = dice.one(&steps);
            // A clock does not go back.
            if !matches!(again, Step::Clock((then,)) if then < clock) {
                steps.push(again);
            }
        } else {
            if dice.percent(mix.pauses) {
                time += dice.between(20, 120);
            } else if !dice.percent(mix.together) {
                time += dice.between(1, 9);
            }
            let mut step = record(dice, &topics, mix, time);
            soften(nodes, mix, &mut step);
            steps.push(step);
        }
    }
    steps
}

/// Takes from a step what engines answer otherwise on purpose: bytes that are no number for a
/// global table, and negative times of such bytes, for global tables, and where neither the source
/// says something nor the program stops.
fn soften(nodes: &[Op], mix: &Mix, step: &mut Step) {
    let (Step::Record((topic, ..)) | Step::Headed((topic, ..)) | Step::Bad((topic, ..))) = &*step
    else {
        return;
    };
    let source = nodes.iter().find(|op| op.source() == Some(topic));
    let global = matches!(
        source,
        Some(Op::GlobalTable { .. } | Op::GlobalStore { .. })
    );
    let plain = source.is_none_or(|op| op.times().is_none());
    let bad = matches!(step, Step::Bad(_));
    if global && let Step::Bad((topic, key, _, time)) = step {
        *step = Step::Record((topic.clone(), key.clone(), None, *time));
    }
    if let Some(time) = step.time_mut()
        && (bad || global || (mix.lenient && plain))
    {
        *time = (*time).max(0);
    }
}

fn record(dice: &mut Dice, topics: &[String], mix: &Mix, newest: Timestamp) -> Step {
    let time = if dice.percent(mix.late) {
        newest - dice.between(20, 120)
    } else if dice.percent(mix.behind) {
        newest - dice.between(0, 25)
    } else {
        newest
    };
    let keys = KEYS.get(..mix.keys).unwrap_or(&KEYS);
    let key = (!dice.percent(mix.no_key)).then(|| dice.one(keys).to_owned());
    let value = (!dice.percent(mix.no_value)).then(|| dice.between(-3, 9));
    let (topic, mut time) = (dice.one(topics), time.max(0));
    if mix.negative > 0 && dice.percent(mix.negative) {
        time = -dice.between(1, 50);
    }
    // A mix without such records is to throw the dice no more often than before there were some.
    if mix.bad > 0 && dice.percent(mix.bad) {
        Step::Bad((topic, key, "bad".to_owned(), time))
    } else if dice.percent(mix.headed) {
        let header = dice.one(&["p", "q"]).to_owned();
        Step::Headed((topic, key, value, time, header))
    } else {
        Step::Record((topic, key, value, time))
    }
}
