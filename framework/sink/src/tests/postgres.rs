//! What only a server can do to a sink: die, hang, refuse, turn read-only, answer too late.

use super::{
    server::{PASSWORD, Server, is_there},
    *,
};
use crate::{Error, Reader};
use std::collections::BTreeSet;

/// Makes the server raise an error for words that say so: `raise53100` does once, when the row is
/// written, what a full disk does. What was raised is noted where no rollback reaches: in a
/// sequence.
const RAISE: [&str; 3] = [
    "CREATE SEQUENCE raised",
    "CREATE FUNCTION raise_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     IF NEW.word LIKE 'raise%' AND (nextval('raised') = 1 OR NEW.word LIKE 'raise_always%') THEN \
     RAISE EXCEPTION 'raised' USING ERRCODE = right(NEW.word, 5); END IF; RETURN NEW; END $$",
    "CREATE TRIGGER raising BEFORE INSERT ON words FOR EACH ROW EXECUTE FUNCTION raise_once()",
];

/// Steps until there is nothing left to do, through all troubles; gives the reasons to wait.
fn persist(sink: &mut Sink) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for now in 0..10_000 {
        match sink.step(now * 60_000).unwrap() {
            Step::Idle => return reasons,
            Step::Wrote { .. } => {}
            Step::Retry { reason, .. } => _ = reasons.insert(reason),
            Step::Waiting => panic!("it is in no group"),
        }
    }
    panic!("no end: {reasons:?}");
}

fn count(world: &World) -> Value {
    world.sql("SELECT count(*) FROM words")[0][0].clone()
}

#[test]
fn every_sqlstate_of_a_row_has_its_consequence() {
    if !is_there() {
        return;
    }
    // Disk full, serialization failure, deadlock, cancelled, lock not available, read only, no
    // privilege, out of range, check, raised by a trigger.
    for (code, consequence) in [
        ("53100", "retry"),
        ("53200", "retry"),
        ("40001", "retry"),
        ("40P01", "retry"),
        ("57014", "retry"),
        ("57P01", "retry"),
        ("55P03", "retry"),
        ("25006", "retry"),
        ("42501", "stop"),
        ("XX001", "stop"),
        ("22003", "dead"),
        ("23514", "dead"),
        ("P0001", "dead"),
    ] {
        let world = World::new(Engine::Postgres, 1);
        drain(&mut world.word_sink());
        for text in RAISE {
            world.sql(text);
        }
        let always = if consequence == "dead" { "_always" } else { "" };
        for word in ["one", &format!("raise{always}{code}"), "two"] {
            world.log.produce(0, b"k", word.as_bytes());
        }
        let mut sink = world.word_sink();
        let step = sink.step(0);
        match consequence {
            "stop" => assert!(matches!(&step, Err(Error::Database(said)) if said.contains(code))),
            "retry" => assert!(
                matches!(&step, Ok(Step::Retry { reason, .. }) if reason.contains(code)),
                "{code}: {step:?}"
            ),
            _ => assert!(matches!(step, Ok(Step::Wrote { .. })), "{code}: {step:?}"),
        }
        if consequence == "stop" {
            assert_eq!(count(&world), 0.into());
            continue;
        }
        persist(&mut sink);
        let dead = i64::from(consequence == "dead");
        assert_eq!(count(&world), (3 - dead).into(), "{code}");
        let letters = world.log.entries("words-dead-letters");
        assert_eq!(i64::try_from(letters.len()).unwrap(), dead, "{code}");
    }
}

#[test]
fn a_server_that_crashes_and_restarts_loses_and_doubles_nothing() {
    if !is_there() {
        return;
    }
    let server = Server::start(&[]);
    let world = World::on(&server, 2);
    for number in 0..400 {
        world.log.produce(number % 2, b"k", b"word");
    }
    let mut sink = world.word_sink();
    for (step, command) in ["crash", "stop"].into_iter().enumerate() {
        for now in 0..10 {
            sink.step(now).unwrap();
        }
        server.tell(command);
        let step = sink.step(i64::try_from(step).unwrap() * 60_000).unwrap();
        assert!(matches!(step, Step::Retry { .. }), "{step:?}");
        // Nobody listens now.
        let Step::Retry { reason, .. } = sink.step(i64::MAX / 2).unwrap() else {
            panic!("the server was stopped");
        };
        assert!(reason.contains("refused"), "{reason}");
        server.tell("start");
    }
    persist(&mut sink);
    assert_eq!(count(&world), 400.into());
}

#[test]
fn a_server_that_hangs_is_waited_for_with_a_bound() {
    if !is_there() {
        return;
    }
    let server = Server::start(&[]);
    let mut world = World::on(&server, 1);
    world.more("&answer_timeout=1&connect_timeout=1");
    world.log.produce(0, b"k", b"one");
    let mut sink = world.word_sink();
    drain(&mut sink);
    world.log.produce(0, b"k", b"two");
    server.tell("pause");
    let Step::Retry { reason, .. } = sink.step(0).unwrap() else {
        panic!("it hangs");
    };
    assert!(reason.contains("no answer in 1 s"), "{reason}");
    let Step::Retry { reason, .. } = sink.step(60_000).unwrap() else {
        panic!("it hangs");
    };
    assert!(reason.contains("no connection in 1 s"), "{reason}");
    server.tell("resume");
    persist(&mut sink);
    assert_eq!(count(&world), 2.into());
}

#[test]
fn a_server_without_a_free_connection_is_waited_for() {
    if !is_there() {
        return;
    }
    let server = Server::start(&["max_connections = 3", "superuser_reserved_connections = 0"]);
    let world = World::on(&server, 1);
    world.log.produce(0, b"k", b"one");
    let taken: Vec<_> = (0..3).map(|_| world.connection()).collect();
    let mut sink = world.word_sink();
    let Step::Retry { reason, .. } = sink.step(0).unwrap() else {
        panic!("all connections are taken");
    };
    assert!(reason.contains("53300"), "{reason}");
    drop(taken);
    persist(&mut sink);
    assert_eq!(count(&world), 1.into());
}

#[test]
fn a_server_that_became_a_standby_is_waited_for() {
    if !is_there() {
        return;
    }
    let server = Server::start(&[]);
    let world = World::on(&server, 1);
    let mut sink = world.word_sink();
    drain(&mut sink);
    world.log.produce(0, b"k", b"one");
    server.tell("stop");
    server.tell("standby");
    server.tell("start");
    let mut reasons = BTreeSet::new();
    for now in 0..3 {
        match sink.step(now * 60_000).unwrap() {
            Step::Retry { reason, .. } => reasons.insert(reason),
            other => panic!("{other:?}"),
        };
    }
    assert!(
        reasons.iter().any(|reason| reason.contains("25006")),
        "{reasons:?}"
    );
    server.tell("stop");
    server.tell("primary");
    server.tell("start");
    persist(&mut sink);
    assert_eq!(count(&world), 1.into());
}

#[test]
fn a_commit_under_way_is_waited_for_before_the_place_is_read() {
    if !is_there() {
        return;
    }
    let world = World::new(Engine::Postgres, 1);
    drain(&mut world.word_sink());
    let mut sink = world.word_sink();
    drain(&mut sink);
    // What a lost connection may have left behind on the server: a transaction of this very sink,
    // the same epoch, that has written rows and moved the place, and whose COMMIT is on its way.
    let mut lost = world.connection();
    lost.begin().unwrap();
    for text in [
        "UPDATE millstream_offsets SET next_offset = 1",
        "INSERT INTO words VALUES (0, 0, 'k', 'one', 3)",
    ] {
        lost.execute(&text.into(), &[]).unwrap();
    }
    world.log.produce(0, b"k", b"one");
    world.log.produce(0, b"k", b"two");
    // The sink cannot tell what became of it as long as it lasts ...
    for now in 0..2 {
        let step = sink.step(now * 60_000).unwrap();
        assert!(matches!(&step, Step::Retry { reason, .. } if reason.contains("55P03")));
    }
    lost.commit().unwrap();
    // ... and then writes only what came after it.
    assert_eq!(persist(&mut sink).len(), 0);
    assert_eq!(sink.stats().rows, 1);
    assert_eq!(
        world.sql("SELECT word FROM words ORDER BY _offset"),
        [["one".into()], ["two".into()]]
    );
}

#[test]
fn an_heir_waits_for_the_last_transaction_of_the_writer_it_replaces() {
    if !is_there() {
        return;
    }
    let world = World::new(Engine::Postgres, 1);
    drain(&mut world.word_sink());
    let mut zombie = world.connection();
    zombie.begin().unwrap();
    let moved = "UPDATE millstream_offsets SET next_offset = 1 WHERE epoch = 1";
    assert_eq!(zombie.execute(&moved.into(), &[]).unwrap(), 1);
    world.log.produce(0, b"k", b"one");
    world.log.produce(0, b"k", b"two");
    let mut heir = world.word_sink();
    assert!(matches!(heir.step(0).unwrap(), Step::Retry { .. }));
    zombie.commit().unwrap();
    persist(&mut heir);
    assert_eq!(heir.stats().rows, 1, "from where the other one had come");
    zombie.begin().unwrap();
    assert_eq!(zombie.execute(&moved.into(), &[]).unwrap(), 0);
}

#[test]
fn tls_is_verified_and_passwords_are_not_shown() {
    if !is_there() {
        return;
    }
    let server = Server::shared();
    let (ca, other) = (server.file("ca.pem"), server.file("other.pem"));
    let opens = |host: &str, parameters: &str| {
        let location = server.guarded(host, parameters);
        let shown = format!("{location} {location:?}");
        // More of it than the name of a directory may end with, in front of "/other.pem".
        let tells = shown.contains("w/o'rd") || shown.contains("w%2Fo'rd");
        assert!(!tells && shown.contains("***"));
        Reader::open(&location).map(drop).map_err(|error| {
            let said = format!("{error} {error:?}");
            assert!(!said.contains(PASSWORD), "{said}");
            said
        })
    };
    opens(
        "localhost",
        &format!("sslmode=verify-full&sslrootcert={ca}"),
    )
    .unwrap();
    opens("localhost", "sslmode=require").unwrap();
    opens("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={ca}")).unwrap();
    // Another CA, no CA of one's own, another name than the certificate's.
    for (host, parameters) in [
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={other}"),
        ),
        ("localhost", "sslmode=verify-full".to_owned()),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}")),
    ] {
        let said = opens(host, &parameters).unwrap_err();
        assert!(said.contains("certificate"), "{said}");
    }
    let wrong = server.guarded("localhost", "sslmode=disable&password=wrong");
    let said = Reader::open(&wrong).map(drop).unwrap_err().to_string();
    assert!(said.contains("28P01") && !said.contains("wrong"), "{said}");
    assert!(!format!("{wrong:?}").contains("wrong"));
}
