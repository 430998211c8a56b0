//! By whose fault a query fails.

use super::{Cursor, LogError, QueryError, RuntimeError, unanswered, unavailable};

#[test]
fn a_client_that_stops_meanwhile_is_not_ready_and_has_not_failed() {
    let why = "the stores of a client that is PENDING_SHUTDOWN cannot be read".to_owned();
    let told = unanswered(RuntimeError::IllegalState(why.clone()));
    assert_eq!(told, QueryError::NotReady(why));
    let told = unanswered(RuntimeError::BadKey("no number".to_owned()));
    assert_eq!(told, QueryError::BadKey("no number".to_owned()));
    let failed = millstream_core::Error::deserialization("a row that is cut off");
    assert!(matches!(unanswered(failed.into()), QueryError::Internal(_)));
}

#[test]
fn an_append_that_may_have_been_made_is_not_told_to_have_failed() {
    let why = "the answer was lost".to_owned();
    let told = unavailable(LogError::UnknownOutcome(why.clone()));
    assert_eq!(told, QueryError::UnknownOutcome(why));
}

#[test]
fn what_is_no_cursor_is_told_so_and_what_one_is() {
    for text in ["", "word", "1.xy", "1.123", "-1.00", "1"] {
        let error = text.parse::<Cursor>().unwrap_err();
        assert!(matches!(&error, RuntimeError::BadCursor(bad) if bad == text));
        let QueryError::BadCursor(why) = unanswered(error) else {
            panic!("{text:?} is answered as something else");
        };
        assert!(
            why.starts_with(&format!("{text:?} is not a cursor: a cursor is")),
            "{why}"
        );
    }
    assert_eq!("1.00ff".parse::<Cursor>().unwrap().to_string(), "1.00ff");
}
