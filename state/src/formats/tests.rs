//! What is noted of stores, and what is refused.

use super::*;

fn one(store: &str, format: &str) -> [DeclaredStore; 1] {
    [DeclaredStore::logged(store, format)]
}

#[test]
fn a_store_is_logged_for_good_or_never() -> Result<()> {
    let unlogged = |store: &str| one(store, "utf8").map(|s| DeclaredStore { logged: false, ..s });
    let told = |refused: Result<bool>| match refused {
        Err(error @ Error::StoreLogging { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let mut formats = StoreFormats::default();
    formats.declare("0_0", &one("s", "utf8"), &[])?;
    let was = formats.clone();
    let why = told(formats.declare("0_0", &unlogged("s"), &[]));
    assert!(
        why.contains("is no longer logged") && why.contains("reset --execute"),
        "{why}"
    );
    assert_eq!(formats, was);
    // What is removed for a while is still what it was.
    formats.declare("0_0", &[], &[])?;
    told(formats.declare("0_0", &unlogged("s"), &[]));

    let mut formats = StoreFormats::default();
    formats.declare("0_0", &unlogged("s"), &[])?;
    let why = told(formats.declare("0_0", &one("s", "utf8"), &[]));
    assert!(why.contains("is logged now"), "{why}");
    assert!(!formats.declare("0_0", &unlogged("s"), &[])?);
    Ok(())
}

#[test]
fn a_note_from_before_logging_was_noted_is_taken_for_what_is_declared() -> Result<()> {
    let before = "1\ngone\tutf8\tretired\ns\tutf8\n";
    for logged in [true, false] {
        let declared = one("s", "utf8").map(|s| DeclaredStore { logged, ..s });
        let other = one("s", "utf8").map(|s| DeclaredStore {
            logged: !logged,
            ..s
        });
        let mut formats = StoreFormats::parse(before).unwrap_or_default();
        assert!(formats.declare("0_0", &declared, &[])?);
        let word = if logged { LOGGED } else { UNLOGGED };
        // Of the one that is not declared nothing more is known than before.
        let text = format!("2\ngone\tutf8\tretired\ns\tutf8\t{word}\n");
        assert_eq!(formats.to_string(), text);
        assert_eq!(StoreFormats::parse(&text), Some(formats.clone()));
        assert!(!formats.declare("0_0", &declared, &[])?);
        let refused = formats.declare("0_0", &other, &[]);
        assert!(matches!(refused, Err(Error::StoreLogging { .. })));
    }
    for damaged in [
        "2\ns\tutf8\tlogged\tunlogged\n",
        "2\ns\tutf8\tretired\tlogged\n",
    ] {
        assert_eq!(StoreFormats::parse(damaged), None, "{damaged}");
    }
    Ok(())
}

#[test]
fn the_better_known_shape_stays_noted() -> Result<()> {
    let mut formats = StoreFormats::default();
    let mut declare = |shape: &str| formats.declare("0_0", &one("s", shape), &[]);
    assert!(declare("bincode")?);
    assert!(declare("bincode(u64,..)")?);
    assert!(declare("bincode(u64,str,u32)")?);
    assert!(!declare("bincode(u64,str,..)")?);
    let refused = declare("bincode(u64,str,u16)");
    assert!(matches!(refused, Err(Error::StoreFormat { .. })));
    Ok(())
}

#[test]
fn no_way_back_is_noted_though_less_is_known() -> Result<()> {
    let mut formats = StoreFormats::default();
    let mut declare = |shape: &str| formats.declare("0_0", &one("s", shape), &[]);
    assert!(declare("bincode(<u8>,str)/bincode(u8)")?);
    assert!(declare("bincode(<u8|u16>,..)/bincode(u8)")?);
    // Rows may have the second variant now.
    for back in ["bincode(<u8>,str)", "bincode(<u8>,..)"] {
        let refused = declare(&format!("{back}/bincode(u8)"));
        assert!(matches!(refused, Err(Error::StoreFormat { .. })));
    }
    assert!(declare("bincode(<u8|u16>,str)/bincode(u8)")?);
    Ok(())
}

#[test]
fn a_shape_that_was_noted_by_its_hash_is_noted_whole_from_then_on() -> Result<()> {
    let whole = |last: &str| format!("bincode(<{}{last}>)", "u8|str|".repeat(300));
    let mut formats = StoreFormats::default();
    formats.declare("0_0", &one("s", &crate::condensed(&whole("u8"))), &[])?;
    assert!(formats.to_string().len() < 40, "{formats}");
    let other = formats
        .clone()
        .declare("0_0", &one("s", &whole("u16")), &[]);
    assert!(matches!(other, Err(Error::StoreFormat { .. })));
    let renamed = formats.clone().declare("0_0", &one("t", &whole("u8")), &[]);
    let told = renamed.unwrap_err().to_string();
    assert!(
        told.contains("state retire s") && told.len() < 700,
        "{told}"
    );

    assert!(formats.declare("0_0", &one("s", &whole("u8")), &[])?);
    assert!(formats.declare("0_0", &one("s", &whole("u8|()")), &[])?);
    let back = formats.declare("0_0", &one("s", &whole("u8")), &[]);
    let told = back.unwrap_err().to_string();
    assert!(told.contains("holds ...") && told.len() < 800, "{told}");
    assert_eq!(StoreFormats::parse(&formats.to_string()), Some(formats));
    Ok(())
}

#[test]
fn a_store_of_a_longer_enum_is_another_one() -> Result<()> {
    let mut formats = StoreFormats::default();
    formats.declare("0_0", &one("old", "bincode(<()>)"), &[])?;
    let renamed = formats
        .clone()
        .declare("0_0", &one("new", "bincode(<()>)"), &[]);
    assert!(matches!(renamed, Err(Error::StoreRenamed { .. })));
    assert!(formats.declare("0_0", &one("new", "bincode(<()|u8>)"), &[])?);
    Ok(())
}

#[test]
fn a_store_that_the_program_has_elsewhere_has_moved() -> Result<()> {
    let mut formats = StoreFormats::default();
    formats.declare("0_0", &one("b", "utf8"), &[])?;
    let refused = formats.clone().declare("0_0", &one("a", "utf8"), &[]);
    assert!(matches!(refused, Err(Error::StoreRenamed { .. })));
    assert!(formats.declare("0_0", &one("a", "utf8"), &["b".to_owned()])?);
    // It may come back, and then is what it was.
    assert!(formats.declare("0_0", &one("b", "utf8"), &["a".to_owned()])?);
    let refused = formats.declare("0_0", &one("b", "u64_be"), &[]);
    assert!(matches!(refused, Err(Error::StoreFormat { .. })));
    Ok(())
}
