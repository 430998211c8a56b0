//! By whose fault a query fails.

use super::{QueryError, RuntimeError, unanswered};

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
