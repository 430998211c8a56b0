//! Locations as text: what they are taken for, and what is shown of them.

use super::*;

#[test]
fn text_is_a_server_or_a_file() {
    let parse = |text: &str| text.parse::<Location>();
    assert_eq!(parse("a/b.db").unwrap(), Location::sqlite("a/b.db"));
    for url in [
        "postgres://h/d",
        "postgresql://u@h:5433/d?sslmode=verify-full",
    ] {
        assert!(matches!(parse(url), Ok(Location::Postgres(_))), "{url}");
        assert_eq!(parse(url).unwrap().to_string(), url);
    }
    for text in [
        "",
        "mysql://h/d",
        "postgres://h:port/d",
        "postgres://h/d?sslmode=sometimes",
        "postgres://h/d?connect_timeout=0",
        "postgres://h/d?connect_timeout=soon",
        "postgres://h/d?pasword=x",
        "postgres://h/d?options[]=x",
        "postgres://h/d#?sslmode=verify-full",
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.starts_with("database location: "), "{said}");
    }
}

#[test]
fn no_password_is_shown_wherever_it_is() {
    for url in [
        "postgres://user:secret@host/db",
        "postgres://user:sec:secret@host:1/db",
        "postgres://user@host/db?password=secret&connect_timeout=3",
        "postgres://:secret@host/db",
    ] {
        let location = Location::postgres(url).unwrap();
        let shown = format!("{location} {location:?} {:?}", Some(location.clone()));
        assert!(!shown.contains("sec") && shown.contains("***"), "{shown}");
        assert!(shown.contains("host"), "{shown}");
    }
    // What is no URL may have its password anywhere, so it is not repeated.
    for url in [
        "postgres://user:sec/ret@host/db",
        "postgres://user:sec?ret@host/db",
        "postgres://user:sec#ret@host/db",
        "postgres://user:secret@host:port/db",
    ] {
        match Location::postgres(url) {
            Err(error) => {
                let said = format!("{error} {error:?}");
                assert!(!said.contains("sec") && !said.contains("ret"), "{said}");
            }
            Ok(location) => assert!(!location.to_string().contains("ret"), "{location}"),
        }
    }
}
