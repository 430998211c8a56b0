//! What becomes of the stores and topics that both programs have.

use super::{
    Verdict,
    described::{Repartition, Store, StoreIn},
};
use millstream_state::{Fit, logging_changed, shown, shown_apart};

/// What becomes of a repartition topic that both programs have.
pub(super) fn rerouted(was: &Repartition, is: &Repartition) -> (Verdict, String) {
    let shown = |topic: &Repartition| {
        let many = topic.partitions.map(|number| number.to_string());
        many.unwrap_or_else(|| "as many as upstream".to_owned())
    };
    if is.partitions != was.partitions {
        let why = format!(
            "has other partitions ({}, was {}): the topic that exists does not fit, and keys \
             would move to other tasks",
            shown(is),
            shown(was)
        );
        return (Verdict::Reset, why);
    }
    if let (Some(before), Some(now)) = (was.placed, is.placed)
        && before != now
    {
        let who = |placed: bool| match placed {
            true => "a partitioner of the program's",
            false => "the bytes of keys",
        };
        let why = format!(
            "is placed by {} and not by {} any more: keys move to other tasks than those that \
             have their rows",
            who(now),
            who(before)
        );
        return (Verdict::Reset, why);
    }
    let (Some(before), Some(now)) = (&was.format, &is.format) else {
        return (Verdict::Compatible, "is unchanged".to_owned());
    };
    match grown(before, now) {
        Some(why) => (Verdict::Compatible, why),
        None => {
            let (before, now) = shown_apart(before, now);
            let why = format!(
                "carries {now} and not {before} any more: records that wait there would be \
                 misread. Let the old program run until its input is used up, give the topic \
                 another name, or reset"
            );
            (Verdict::Reset, why)
        }
    }
}

/// Why bytes of a format are read by one that declares another; `None` where they are not.
fn grown(before: &str, now: &str) -> Option<String> {
    Some(match Fit::between(before, now) {
        Fit::Same => "is unchanged".to_owned(),
        Fit::Appended => {
            let (before, now) = shown_apart(before, now);
            format!(
                "has enums with further variants at their ends, so old bytes mean what they \
                 meant: {now}, was {before}. There is no way back to the old program"
            )
        }
        Fit::Undescribed => format!(
            "is {} now, and not all is known of its type's shape, or was when the shapes of \
             types were not told: nothing is known against it",
            shown(now)
        ),
        Fit::Other => return None,
    })
}

/// What becomes of a store that both programs have.
pub(super) fn kept(was: &StoreIn<'_>, is: &StoreIn<'_>) -> (Verdict, String) {
    let (before, now) = (was.store, is.store);
    let Some(format) = grown(&before.format, &now.format) else {
        let (before, now) = shown_apart(&before.format, &now.format);
        let why = format!(
            "holds {now} and not {before} any more: the program would not start with the old \
             rows. Give the new store another name, or reset"
        );
        return (Verdict::Reset, why);
    };
    if before.logged != now.logged {
        return (Verdict::Reset, logging_changed(now.logged).to_owned());
    }
    if before.sources.is_disjoint(&now.sources) {
        let list = |store: &Store| store.sources.iter().cloned().collect::<Vec<_>>().join(", ");
        let why = format!(
            "is made from {} and not from {} any more: its old rows are none of those, and may \
             be in other partitions than the records that change them. Give the new store another \
             name, or reset",
            list(now),
            list(before)
        );
        return (Verdict::Reset, why);
    }
    match (was.sub.id == is.sub.id, now.logged) {
        (true, _) => (
            Verdict::Compatible,
            format + headers(before, now) + &forgotten(before, now),
        ),
        (false, true) => (
            Verdict::Restore,
            format!(
                "moves from subtopology {} to {}: it is restored from its changelog{}{}",
                was.sub.id,
                is.sub.id,
                headers(before, now),
                forgotten(before, now)
            ),
        ),
        (false, false) => (
            Verdict::Reset,
            format!(
                "moves from subtopology {} to {}, and has no changelog to be restored from",
                was.sub.id, is.sub.id
            ),
        ),
    }
}

/// What there is to say where rows come to have headers, or have none any more.
fn headers(was: &Store, is: &Store) -> &'static str {
    match (was.headers, is.headers) {
        (false, true) => {
            ", and its rows have headers now: those that are there have none until they are \
             written anew"
        }
        (true, false) => {
            ", and its rows have no headers any more: those of rows that are there are passed over"
        }
        _ => "",
    }
}

/// What there is to say where rows are kept for longer than they were.
fn forgotten(was: &Store, is: &Store) -> String {
    let kept = match (was.retention, is.retention) {
        (Some(before), Some(now)) if before < now => format!("for {now} ms and not {before}"),
        (Some(before), None) => format!("for ever and not for {before} ms"),
        _ => return String::new(),
    };
    format!(
        ", but keeps rows {kept}: what has gone does not come back, so a record that would have \
         been too late for the old program finds nothing of the window or the history that it \
         belongs to, and begins it anew"
    )
}
