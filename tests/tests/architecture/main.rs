//! The rules of ARCHITECTURE.md that a machine can check.
//!
//! One test per rule. Each gathers every offender before it fails, so that one run shows all there
//! is to mend; none can be silenced from inside a source file.

mod checkout;
mod code;

use checkout::{Package, children, packages, root, sources, texts};
use code::{always_compiled, gated_files, is_word, std_modules, without_prose};
use std::collections::BTreeSet;
use std::fs;

/// The crates from the ground up: each may depend only on crates named before it. All of `apps/`
/// stands on one floor, between the facade and the tests.
const FLOORS: &[&str] = &[
    "millstream-metrics",
    "millstream-state",
    "millstream-core",
    "millstream-learn",
    "millstream-log",
    "millstream-kafka",
    "millstream-sink",
    "millstream-runtime",
    "millstream-http",
    "millstream",
    APPS,
    "millstream-tests",
];
const APPS: &str = "apps/*";

/// What only one crate may know: the start of a dependency's name, and that crate.
const ONLY: &[(&str, &str)] = &[
    ("rocksdb", "millstream-state"),
    ("librocksdb", "millstream-state"),
    ("sqlx", "millstream-sink"),
    ("prometheus", "millstream-metrics"),
    ("axum", "millstream-http"),
    ("smartcore", "millstream-learn"),
    ("rdkafka", "millstream-kafka"),
];

/// The crates that are plain synchronous values: no async runtime, no I/O, no console.
const PURE: &[&str] = &[
    "millstream-core",
    "millstream-learn",
    "millstream-log",
    "millstream-state",
];
const IMPURE_MODULES: &[&str] = &["env", "fs", "net", "process"];
/// What writes to the console or reads it, by macro or by handle (`std::io::stdout`).
const CONSOLE: &[&str] = &[
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "dbg!",
    "stdin",
    "stdout",
    "stderr",
    "Stdin",
    "Stdout",
    "Stderr",
];

/// The wall clock, and the one file that reads it.
const CLOCK: &[&str] = &["SystemTime::now", "Instant::now", "thread::sleep"];
const CLOCK_FILE: &str = "framework/runtime/src/clock.rs";

const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;

/// All that the top level may hold; `target` is there when someone builds without the Makefile.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".config",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "apps",
    "clippy.toml",
    "deny.toml",
    "docker",
    "framework",
    "metrics",
    "rustfmt.toml",
    "state",
    "target",
    "tests",
];

/// Where packages come from is the business of the machine; written in halves so that this file
/// does not name them either.
const REGISTRIES: &[(&str, &str)] = &[
    ("crates", "io"),
    ("debian", "org"),
    ("maven", "org"),
    ("npmjs", "com"),
    ("npmjs", "org"),
    ("proxy.golang", "org"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
];
/// What marks unfinished work, in halves for the same reason.
const UNFINISHED: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("XX", "X")];

#[test]
fn every_crate_depends_only_on_crates_below_it() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let mut offenders = Vec::new();
    for package in &packages {
        let Some(place) = floor(package) else {
            offenders.push(format!("{} has no place in FLOORS", package.name));
            continue;
        };
        let ours = package
            .dependencies
            .iter()
            .filter(|d| names.contains(d.as_str()));
        for dependency in ours {
            let below = packages.iter().find(|p| p.name == *dependency);
            if below.and_then(floor).is_none_or(|below| below >= place) {
                offenders.push(format!("{} -> {dependency}", package.name));
            }
        }
    }
    pass("these dependencies do not lead downwards", &offenders);
}

#[test]
fn the_outside_world_is_known_to_one_crate_each() {
    let mut offenders = Vec::new();
    for package in packages() {
        for dependency in &package.dependencies {
            for (start, owner) in ONLY {
                if dependency.starts_with(start) && package.name != *owner {
                    offenders.push(format!("{} -> {dependency} (only {owner})", package.name));
                }
            }
        }
    }
    pass("these dependencies belong to another crate", &offenders);
}

#[test]
fn pure_crates_do_not_depend_on_an_async_runtime() {
    let mut offenders = Vec::new();
    for package in packages()
        .iter()
        .filter(|p| PURE.contains(&p.name.as_str()))
    {
        let is_runtime = |d: &&String| {
            ["tokio", "async-", "futures"]
                .iter()
                .any(|r| d.starts_with(r))
        };
        offenders.extend(
            package
                .dependencies
                .iter()
                .filter(is_runtime)
                .map(|dependency| format!("{} -> {dependency}", package.name)),
        );
    }
    pass("these crates must stay synchronous", &offenders);
}

#[test]
fn the_wall_clock_is_read_in_one_file() {
    let mut offenders = Vec::new();
    for source in sources() {
        let measured = source.path.starts_with("tests/")
            || ["/tests/", "/benches/"]
                .iter()
                .any(|dir| source.path.contains(dir));
        if measured || source.path == CLOCK_FILE {
            continue;
        }
        let code = without_prose(&source.text);
        offenders.extend(
            CLOCK
                .iter()
                .filter(|name| code.contains(*name))
                .map(|name| source.says(name)),
        );
    }
    pass(
        &format!("time is an argument; only {CLOCK_FILE} reads it"),
        &offenders,
    );
}

#[test]
fn pure_crates_hold_no_io() {
    let packages = packages();
    let sources = sources();
    let gated: BTreeSet<String> = sources
        .iter()
        .flat_map(|s| gated_files(&s.path, &s.text))
        .collect();
    let mut offenders = Vec::new();
    for source in &sources {
        let pure = source
            .owner(&packages)
            .is_some_and(|p| PURE.contains(&p.name.as_str()));
        let in_src = source.path.contains("/src/");
        let is_gated = gated.iter().any(|file| {
            source.path == format!("{file}.rs") || source.path.starts_with(&format!("{file}/"))
        });
        if !pure || !in_src || is_gated {
            continue;
        }
        let code = always_compiled(&source.text).0;
        let used = std_modules(&code);
        let modules = IMPURE_MODULES
            .iter()
            .filter(|module| used.contains(**module));
        offenders.extend(modules.map(|module| source.says(&format!("std::{module}"))));
        let words: BTreeSet<&str> = code.split(|c: char| !is_word(c) && c != '!').collect();
        let prints = CONSOLE.iter().filter(|name| words.contains(**name));
        offenders.extend(prints.map(|name| source.says(name)));
    }
    pass("these crates take what they need as arguments", &offenders);
}

#[test]
fn every_source_file_says_what_it_is() {
    let silent = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"));
    pass(
        "these files do not open with `//!`",
        &silent.map(|s| s.path).collect::<Vec<_>>(),
    );
}

#[test]
fn files_and_lines_are_short() {
    let mut offenders = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            offenders.push(source.says(&format!("{lines} lines, at most {LINES_MAX}")));
        }
        for (index, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                offenders.push(format!("{}:{}: {columns} columns", source.path, index + 1));
            }
        }
    }
    pass("these are too long", &offenders);
}

#[test]
fn the_map_names_every_crate_and_no_other() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    // Names stand between backticks: every second piece.
    let named: BTreeSet<&str> = map.split('`').skip(1).step_by(2).collect();
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let missing = names
        .difference(&named)
        .map(|name| format!("`{name}` is not named"));
    let invented = named
        .iter()
        .filter(|name| name.starts_with("millstream-") && !names.contains(**name))
        .map(|name| format!("`{name}` does not exist"));
    pass(
        "ARCHITECTURE.md is not true",
        &missing.chain(invented).collect::<Vec<_>>(),
    );
}

#[test]
fn the_documents_are_there() {
    let wanted = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE"];
    let empty = wanted.into_iter().filter(|name| {
        fs::read_to_string(root().join(name)).map_or(true, |text| text.trim().is_empty())
    });
    pass(
        "these documents are missing or empty",
        &empty.collect::<Vec<_>>(),
    );
}

#[test]
fn the_top_level_holds_only_what_it_should() {
    let strangers = children(&root())
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()));
    pass(
        "these do not belong at the top level",
        &strangers.collect::<Vec<_>>(),
    );
}

#[test]
fn no_file_names_a_registry() {
    let hosts: Vec<String> = REGISTRIES.iter().map(|(a, b)| format!("{a}.{b}")).collect();
    let mut offenders = Vec::new();
    // Cargo writes Cargo.lock itself, its index's address included.
    for file in texts().into_iter().filter(|file| file.path != "Cargo.lock") {
        let found = hosts
            .iter()
            .filter(|host| file.text.contains(host.as_str()));
        offenders.extend(found.map(|host| file.says(host)));
    }
    pass(
        "which registry serves a package is the machine's business",
        &offenders,
    );
}

#[test]
fn every_metric_of_the_list_is_written() {
    const LIST: &str = "metrics/src/list.rs";
    let files = sources();
    let list = files.iter().find(|file| file.path == LIST);
    let listed = list.map_or("", |file| &*file.text).lines();
    let listed: Vec<_> = listed
        .filter_map(|line| line.split_once(" = \"streams_"))
        .map(|(name, _)| name.trim())
        .collect();
    assert!(
        listed.len() > 20,
        "{LIST} does not look as it did: {listed:?}"
    );
    let programs = files
        .iter()
        .filter(|file| file.path != LIST && !file.path.contains("tests/"));
    let written: BTreeSet<String> = programs
        .flat_map(|file| {
            let (code, _) = always_compiled(&file.text);
            let named = code.split("Metric::").skip(1);
            let names = named.map(|rest| rest.split(|c| !is_word(c)).next().map(str::to_owned));
            names.flatten().collect::<Vec<_>>()
        })
        .collect();
    let mut offenders = listed;
    offenders.retain(|name| !written.contains(*name));
    pass("a metric that nothing writes is a promise", &offenders);
}

#[test]
fn nothing_is_marked_unfinished() {
    let marks: Vec<String> = UNFINISHED.iter().map(|(a, b)| format!("{a}{b}")).collect();
    let mut offenders = Vec::new();
    for file in texts() {
        for (index, line) in file.text.lines().enumerate() {
            let mut words = line.split(|c| !is_word(c));
            if words.any(|word| marks.iter().any(|mark| mark == word)) {
                offenders.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    pass("finish these, or file them as issues", &offenders);
}

#[track_caller]
fn pass(rule: &str, offenders: &[impl std::fmt::Display]) {
    let list: String = offenders
        .iter()
        .map(|offender| format!("\n  {offender}"))
        .collect();
    assert!(offenders.is_empty(), "{rule}:{list}");
}

fn floor(package: &Package) -> Option<usize> {
    let name = if package.folder.starts_with("apps/") {
        APPS
    } else {
        &package.name
    };
    FLOORS.iter().position(|floor| *floor == name)
}
