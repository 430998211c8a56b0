//! Shapes, and what becomes of them.

use super::*;

fn shape(text: &str) -> Shape<'_> {
    let text = text.trim();
    let (shape, rest) = Shape::parse(text).unwrap();
    assert_eq!(rest, "");
    shape
}

fn grows(old: &str, new: &str) -> bool {
    let (old, new) = (format!("({old})"), format!("({new})"));
    let found = shape(&new).extends(&shape(&old));
    found.is_some_and(|found| found.appended && found.unknown == Unknown::default())
}

fn unknown(old: &str, new: &str) -> Option<(bool, bool)> {
    let (old, new) = (format!("({old})"), format!("({new})"));
    let found = shape(&new).extends(&shape(&old));
    found.map(|found| (found.unknown.old, found.unknown.new))
}

#[test]
fn nothing_is_known_against_what_is_unknown() {
    assert_eq!(unknown("u64,str,u32", "u64,str,.."), Some((false, true)));
    assert_eq!(unknown("u64,str,..", "u64,str,u32"), Some((true, false)));
    assert_eq!(unknown("u64,..", "u64,.."), Some((true, true)));
    assert_eq!(unknown("u64,..", "u64"), Some((true, false)));
    assert_eq!(unknown("..", "u8"), Some((true, false)));
    // What stands before it must fit, and so must what stands beside an option, a list or a variant
    // with something unknown in it.
    assert_eq!(unknown("u64,str,u32", "u8,str,.."), None);
    assert_eq!(unknown("u64,u8", "u64,str,.."), None);
    assert_eq!(unknown("[(u8,..)],u8", "[(u8,u8)],u8"), Some((true, false)));
    assert_eq!(unknown("[(u8,..)],u8", "[(u8,u8)],u16"), None);
    // A label may come or go with what refers to it.
    assert_eq!(unknown("u8,..,str", "@1(u8,?^1),str"), Some((true, false)));
    assert_eq!(
        unknown("@1(u8,..,[^1]),str", "@1(u8,?^1,..,str)"),
        Some((true, false))
    );
    assert_eq!(
        unknown("(str,u8)*289", "((str,..)*17,..)*17"),
        Some((false, true))
    );
    assert_eq!(unknown("<..|u8>", "<str|u8|u8>"), Some((true, false)));
    assert_eq!(unknown("<..|u8>", "<str|u16>"), None);
    assert_eq!(unknown("<u8|u8>", "<..>"), None);
}

#[test]
fn only_variants_at_the_end_may_come() {
    assert!(grows("u64,<()|u8>", "u64,<()|u8|str>"));
    assert!(grows("[{str:?<()>}]", "[{str:?<()*2>}]"));
    assert!(grows("<()*3>", "<()*5|u8>"));
    assert!(grows("<()*3|u8>", "<()*3|u8*2>"));
    assert!(grows("<>", "<u8>"));
    assert!(grows("<(u8,<u8>)>", "<(u8,<u8|u8>)|(u8)>"));
    for (old, new) in [
        ("u64", "u64,str"),
        ("u64,str", "u64"),
        ("u8*3", "u8*4"),
        ("u8,u16", "u16,u8"),
        ("<()|u8>", "<()>"),
        ("<()|u8>", "<u8|()>"),
        ("<()*3|u8>", "<()*4|u8>"),
        ("<u8>,u8", "<u8|u8>"),
        ("?u8", "u8"),
        ("[u8]", "?u8"),
        ("{u8:u8}", "{u8:u16}"),
        ("<u8>", "(u8)"),
    ] {
        assert!(!grows(old, new), "{old} {new}");
    }
}

#[test]
fn labels_are_names_and_no_more() {
    assert!(grows("@1<u8|?^1>", "@1<u8|?^1|[^1]>"));
    assert!(grows("<u8>,@1(u8,?^1)", "@1<u8|?^1>,@2(u8,?^2)"));
    assert!(!grows("@1(u8,@2(?^1,?^2))", "@1(u8,@2(?^2,?^1))"));
    assert!(!grows("@1(u8,?^1)", "@1(u8,?u8)"));
    assert!(!grows("^1", "^1"));
    assert!(!grows("@1<?^1>,@1<u8>", "@1<?^1|()>,@2<u8>"));
}

#[test]
fn a_new_variant_may_refer_to_whatever_is_around_it() {
    for (old, new) in [
        ("<()>,u8", "@1(<()|^1>,u8)"),
        ("u16,<()>,u8,str", "u16,@1(<()|^1>,u8),str"),
        ("u16,<()>,u8,str", "@2(u16,@1(<()|^1|^2>,u8),str)"),
        // As an element, a variant, an option, a key and a value, and several times.
        ("[<()>]", "[@1(<()|^1>)]"),
        ("<(<()>,u8)|str>", "<@1(<()|^1>,u8)|str>"),
        ("?(u8,<()>)", "?@1(u8,<()|?^1>)"),
        ("{(<()>,u8):<u8>}", "{@1(<()|^1>,u8):@2(<u8|[^2]>)}"),
        ("(<()>,u8)*20", "@1(<()|[^1]>,u8)*20"),
        ("<()>*20,u8", "@2(@1(<()|[^1]|^2>)*20,u8)"),
        // What contains itself already does so in the new one, by another label.
        ("@1(?^1,<()>,u8)", "@1(?^1,@2(<()|^2>,u8))"),
        ("@1(?^1,u64),<()>", "@1(@2(?^2,u64),<()|^1>)"),
        ("@1<()|(@2<u8|^1>,^1)>", "@1<()|(@2<u8|^1|^2>,^1)>"),
        ("@1<()|(u8,<^1>)>", "@1<()|@2(u8,<^1|^2>)>"),
        ("[@1(u8,[^1],<()>)]", "@3[@1(u8,[^1],@2<()|^2|^1|^3>)]"),
    ] {
        assert!(grows(old, new), "{old} {new}");
        assert!(!grows(new, old), "{new} {old}");
    }
    for (old, new) in [
        ("<()>,u8", "@1(<()|^1>,u16)"),
        ("<()>,u8", "@1(<()|^1>,u8,u8)"),
        ("<()>,u8,u8", "@1(<()|^1>,u8)"),
        ("<()|u8>,u8", "@1(<()|^1|u8>,u8)"),
        ("<()|u8>,u8", "@1(<()|^1>,u8)"),
        ("(<()>,u8)*20", "@1(<()|[^1]>,u8)*21"),
        ("<()>*20,u8", "@2(@1(<()|[^1]|^2>)*19,u8)"),
        ("@1(?^1,u64),<()>", "@1(@2(?^1,u64),<()|^1>)"),
        ("@1<()|(@2<u8|^1>,^1)>", "@1<()|(@2<u8|^2|^2>,^1)>"),
        ("@1<()|(u8,<^1>)>", "@1<()|@2(u8,<^2|^1>)>"),
    ] {
        assert_eq!(unknown(old, new), None, "{old} {new}");
    }
}

#[test]
fn what_is_written_alike_is_the_same_however_it_is_told() {
    for (one, other) in [
        ("@1(u8,?^1)", "u8,?@1(u8,?^1)"),
        ("@1(u8,?^1)", "@1(u8,?(u8,?^1))"),
        ("@1?(?^1)", "?@1?(?(?^1))"),
        ("(u8,bool)*3", "u8,bool,u8,bool,u8,bool"),
        ("@1[^1]*20", "([@1[^1]]*2)*10"),
        ("@1(@2(?^1,?^2))", "@1(@2(?^2,?^1))"),
        // The same parts by other references: one list begins where the other one is.
        (
            "@1<@2(<u8|^2>)|(^1,u8)>",
            "@1<@2(<u8|^2>)|(@3<@4(<u8|^4>)|(^3,u8)>,u8)>",
        ),
    ] {
        for (old, new) in [(one, other), (other, one)] {
            let (old, new) = (format!("({old})"), format!("({new})"));
            let found = shape(&new).extends(&shape(&old));
            assert_eq!(found, Some(Found::default()), "{old} {new}");
        }
    }
}

#[test]
fn there_are_no_rows_of_what_has_no_end() {
    let found = |old: &str, new: &str| unknown(old, new).is_some();
    assert!(grows("<@1(^1,..)|u8>", "<@1(^1,..)|u8|str>"));
    assert!(grows(
        "[@1(u8,@2(^1,str))],<u8>",
        "[@1(u8,@2(^1,str))],<u8|u8>"
    ));
    assert!(found("@1(u8,^1)", "@1(u8,^1,str)") && !found("@1(u8,^1)", "@1(u16,^1)"));
    assert!(!found("u8", "@1(u8,^1)"));
}

#[test]
fn no_shape_takes_long() {
    let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(200), "]".repeat(200));
    assert!(grows(&deep("<u8>"), &deep("<u8|u8>")));
    // They go on for ever, each in its way.
    for (old, new) in [
        ("u8,u8", "@1(u8,^1)"),
        ("u8", "@1(^1)"),
        ("@1[(u8,^1*9)]", "@1[(^1,@2(u8,^2*8))]"),
        ("u8,?(str,u8)", "u8,@1(@2(?^1,^2))"),
        ("(u8,u16)*18446744073709551615", "u8,(u16,u8)*9,u16"),
    ] {
        assert_eq!(unknown(old, new), None, "{old} {new}");
    }
    // Loops of many lengths meet in as many ways as there are pairs.
    let round = |len: usize| format!("@1{}^1", "?".repeat(len));
    assert_eq!(unknown(&round(15), &round(14)), Some((false, false)));
    assert_eq!(unknown(&round(120), &round(119)), None);
    assert_eq!(
        unknown(&round(120), &format!("{}u8", "?".repeat(119))),
        None
    );
}
