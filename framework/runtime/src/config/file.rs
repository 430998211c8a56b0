//! Configuration files: `.properties`, and `.toml` with dotted keys or nested tables.
//!
//! Invariant: a file is read up to a bound, and an error never quotes its text, which may hold
//! passwords.

use super::{
    error::{Error, Result},
    properties,
    source::Source,
};
use std::{io::Read, path::Path};

/// No configuration is longer; what is, is another file by mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A key, its value, and where they stand.
pub(super) type Setting = (String, String, Source);

/// Reads a file, in the format that its extension names.
pub(super) fn read(path: &Path) -> Result<Vec<Setting>> {
    let name = path.display().to_string();
    let refuse = |reason: String| Error::File {
        path: name.clone(),
        reason,
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|cause| refuse(cause.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse(format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("properties") => from_properties(&text, &name),
        Some("toml") => from_toml(&text, &name),
        _ => Err(refuse("the name must end in .properties or .toml".into())),
    }
}

/// The settings of a `.properties` text.
pub(super) fn from_properties(text: &str, path: &str) -> Result<Vec<Setting>> {
    let entries = properties::parse(text).map_err(|(line, reason)| Error::Syntax {
        path: path.into(),
        line,
        reason,
    })?;
    let setting = |entry: properties::Property| {
        let path = path.to_owned();
        let line = Some(entry.line);
        (entry.key, entry.value, Source::File { path, line })
    };
    Ok(entries.into_iter().map(setting).collect())
}

/// The settings of a TOML text: `a.b = 1`, `"a.b" = 1` and `[a] b = 1` are all the key `a.b`.
pub(super) fn from_toml(text: &str, path: &str) -> Result<Vec<Setting>> {
    let table: toml::Table = text.parse().map_err(|cause: toml::de::Error| {
        let before = cause
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or("");
        Error::Syntax {
            path: path.into(),
            line: 1 + before.matches('\n').count(),
            reason: cause.message().into(),
        }
    })?;
    let source = Source::File {
        path: path.into(),
        line: None,
    };
    let mut settings = Vec::new();
    flatten("", &table, &source, &mut settings)?;
    Ok(settings)
}

/// Walks a table whose depth the parser has bounded.
fn flatten(
    prefix: &str,
    table: &toml::Table,
    source: &Source,
    settings: &mut Vec<Setting>,
) -> Result<()> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, source, settings)?,
            toml::Value::Array(items) => {
                // A list is written with commas in Kafka's world: hosts and ports.
                let items: Option<Vec<_>> = items.iter().map(scalar).collect();
                let Some(items) = items else {
                    return Err(Error::Bad {
                        key,
                        value: "a list of lists or tables".into(),
                        expected: "a list of plain values".into(),
                        origin: source.clone(),
                    });
                };
                settings.push((key, items.join(","), source.clone()));
            }
            other => settings.push((key, scalar(other).unwrap_or_default(), source.clone())),
        }
    }
    Ok(())
}

/// A plain value as the text it would be in a `.properties` file.
fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Datetime(time) => Some(time.to_string()),
        toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn toml_is_flattened() {
        let text = r#"
            "state.dir" = "/var/lib/x"
            poll.ms = 50
            [commit.interval]
            ms = "30s"
            [consumer]
            auto.offset.reset = "earliest"
            check.crcs = true
            [bootstrap]
            servers = ["a:1", "b:2"]
        "#;
        let settings = from_toml(text, "app.toml").unwrap();
        let found: Vec<_> = settings
            .iter()
            .map(|(key, value, _)| (&**key, &**value))
            .collect();
        let expect = [
            ("bootstrap.servers", "a:1,b:2"),
            ("commit.interval.ms", "30s"),
            ("consumer.auto.offset.reset", "earliest"),
            ("consumer.check.crcs", "true"),
            ("poll.ms", "50"),
            ("state.dir", "/var/lib/x"),
        ];
        let mut found = found;
        found.sort_unstable();
        assert_eq!(found, expect);
    }

    #[test]
    fn bad_files_say_where() {
        let secret = "x = 1\nssl.key.password = hunter2";
        let error = from_toml(secret, "a.toml").unwrap_err().to_string();
        assert!(
            error.starts_with("configuration file a.toml, line 2: "),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        let error = from_toml("a = [[1]]", "a.toml").unwrap_err().to_string();
        assert_eq!(
            error,
            "bad value \"a list of lists or tables\" for a (a.toml): expected a list of plain \
             values"
        );
        let error = from_properties("\na=\\u1", "a.properties")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "configuration file a.properties, line 2: expected four hex digits after \\u"
        );
    }

    #[test]
    fn files_are_read_by_extension() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        assert_eq!(file("a.properties", "a=1").unwrap()[0].1, "1");
        assert_eq!(file("a.toml", "a=2").unwrap()[0].1, "2");
        let error = file("a.yaml", "a: 3").unwrap_err().to_string();
        assert!(
            error.ends_with("the name must end in .properties or .toml"),
            "{error}"
        );
        let error = file("b.toml", &"#".repeat(1 << 20 | 1))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("longer than 1048576 bytes"), "{error}");
        assert!(read(&dir.path().join("none.toml")).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z.= \n\"\\[\\]{},0-9']{0,60}|\\PC*") {
            let _ = from_toml(&text, "x.toml");
            let _ = from_properties(&text, "x.properties");
        }
    }
}
