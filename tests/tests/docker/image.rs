//! The Dockerfile and its two scripts. The scripts are run as they are; the Dockerfile is read.

use crate::{
    compose::{Compose, unpinned},
    docker, pass, read, root,
};
use millstream_tests::servers::flagship;
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// The Dockerfile's instructions, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').expect("an instruction has arguments");
        (
            word.to_owned(),
            rest.split_whitespace().collect::<Vec<_>>().join(" "),
        )
    };
    lines.map(split).collect()
}

/// The arguments of an instruction, in order.
fn all<'a>(instructions: &'a [(String, String)], word: &str) -> Vec<&'a str> {
    let of_word = instructions.iter().filter(|(name, _)| name == word);
    of_word.map(|(_, rest)| rest.as_str()).collect()
}

#[test]
fn stages_are_pinned_or_named_before() {
    let (instructions, mut stages, mut offenders) = (instructions(), BTreeSet::new(), Vec::new());
    for from in all(&instructions, "FROM") {
        let mut words = from.split(' ');
        let image = words.next().expect("an image");
        if !stages.contains(image) {
            offenders.extend(unpinned(image));
        }
        stages.extend(words.nth(1));
    }
    pass("pin these", &offenders);
    let rust = all(&instructions, "FROM")[0];
    let wanted = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let wanted = wanted
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""));
    let wanted = wanted.expect("a rust-version").trim_end_matches('"');
    assert!(
        rust.starts_with(&format!("rust:{wanted}.")),
        "{rust}, but Rust {wanted} is needed"
    );
}

#[test]
fn what_is_copied_is_there_and_not_ignored() {
    let ignored = read("Dockerfile.dockerignore");
    let ignored: BTreeSet<&str> = ignored.lines().collect();
    for copy in all(&instructions(), "COPY") {
        if copy.starts_with("--from=") {
            continue;
        }
        let from = copy.split(' ').next().expect("a source");
        assert!(root().join(from).exists(), "{from} does not exist");
        if from.starts_with("docker/") {
            assert!(ignored.contains(&*format!("!{from}")), "{from} is ignored");
        }
    }
    // It is run in the image, so it must be there, and be runnable.
    assert!(ignored.contains("!docker/manifests"));
}

/// Whether a file of the project is left out of the image's sources: the last pattern that it
/// matches decides, of the three kinds that are used.
fn is_ignored(patterns: &str, file: &str) -> bool {
    let lines = patterns.lines();
    let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    patterns.fold(false, |ignored, pattern| {
        let (kept, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        let matches = match (pattern.strip_prefix("**/*"), pattern.strip_suffix('*')) {
            (Some(ending), _) => file.ends_with(ending),
            (None, Some(folder)) => file.starts_with(folder),
            (None, None) => file == pattern || file.starts_with(&format!("{pattern}/")),
        };
        if matches { !kept } else { ignored }
    })
}

/// Code that takes files in when it is compiled must find them in the image too.
#[test]
fn what_the_code_includes_is_not_ignored() {
    let ignored = read("Dockerfile.dockerignore");
    assert!(is_ignored(&ignored, "apps/retail/README.md"));
    assert!(is_ignored(&ignored, "docker/compose.yaml") && !is_ignored(&ignored, "docker/ready"));
    let mut included = 0;
    let folders = ["framework", "state", "metrics", "apps"].map(|folder| root().join(folder));
    for file in folders.iter().flat_map(|folder| files(&root(), folder)) {
        if !file.ends_with(".rs") || !file.contains("/src/") {
            continue;
        }
        let path = root().join(&file);
        let text = std::fs::read_to_string(&path).unwrap();
        let strings = text.split("include_str!(\"").skip(1);
        for rest in strings.chain(text.split("include_bytes!(\"").skip(1)) {
            let (target, _) = rest.split_once('"').unwrap();
            let target = path.parent().unwrap().join(target).canonicalize().unwrap();
            let target = target.strip_prefix(root().canonicalize().unwrap()).unwrap();
            let target = target.to_str().unwrap();
            assert!(!is_ignored(&ignored, target), "{file} includes {target}");
            included += 1;
        }
    }
    assert!(included >= 5, "{included} files are included");
}

/// What is running is told by the name that the code was compiled with, down to the metric.
#[test]
fn the_image_and_the_demo_are_told_their_revision() {
    let text = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let code = text("framework/src/publish.rs");
    let (_, rest) = code.split_once("option_env!(\"").expect("a revision");
    let (name, _) = rest.split_once('"').unwrap();
    let instructions = instructions();
    let place = |of: &dyn Fn(&(String, String)) -> bool| instructions.iter().rposition(of);
    let told = place(&|(word, rest)| word == "ARG" && rest.starts_with(&format!("{name}=")));
    let built = place(&|(word, rest)| word == "RUN" && rest.contains("cargo build"));
    let stage = place(&|(word, rest)| word == "FROM" && rest.ends_with(" AS build"));
    assert!(
        stage < told && told < built,
        "{name} is no argument of the build"
    );
    let compose = Compose::read();
    let services = compose.services.values();
    let builds: Vec<_> = services.filter_map(|s| s["build"].as_object()).collect();
    assert!(!builds.is_empty());
    for build in builds {
        let said = build["args"][name].as_str();
        assert_eq!(said, Some(&*format!("${{{name}:-unknown}}")));
    }
    let demo = text("Makefile");
    let (_, demo) = demo.split_once("\ndemo:").expect("a demo");
    let (demo, _) = demo.split_once("\n\n").unwrap();
    assert!(demo.contains(&format!("{name}=$(revision)")), "{demo}");
}

/// Whoever runs the image gets the flagship, as nobody in particular, with a check of its health.
#[test]
fn the_image_runs_the_flagship_as_nobody_and_watches_it() {
    let instructions = instructions();
    let last = instructions
        .iter()
        .rposition(|(word, _)| word == "FROM")
        .unwrap();
    let last = &instructions[last..];
    let user: u32 = all(last, "USER")
        .last()
        .expect("a USER")
        .parse()
        .expect("a number");
    assert!(user > 0, "it runs as root");
    assert!(
        all(last, "RUN")
            .iter()
            .any(|run| run.contains(&format!("--uid {user} ")))
    );
    let health = all(last, "HEALTHCHECK");
    assert!(
        health[0].ends_with("CMD [\"ready\", \"127.0.0.1:8080\"]"),
        "{health:?}"
    );
    assert!(read("ready").contains("GET /readyz "));
    assert_eq!(all(last, "ENTRYPOINT"), ["[\"sentiment\"]"]);
    let command: Vec<String> = serde_json::from_str(all(last, "CMD")[0]).unwrap();
    let mut flagship = flagship::command().unwrap();
    let output = flagship.args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut flagship = flagship::command().unwrap();
    flagship.args(["config", "explain"]);
    for (key, value) in all(last, "ENV")[0]
        .split(' ')
        .filter_map(|one| one.split_once('='))
    {
        flagship.env(key, value);
    }
    let output = flagship.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(told.contains("MILLSTREAM_STATE_DIR"), "{told}");
}

/// The stage that a builder keeps compiles exactly what the last one needs, and depends on nothing
/// that changes with the code.
#[test]
fn third_party_code_is_compiled_from_manifests_alone() {
    let instructions = instructions();
    let builds: Vec<&str> = all(&instructions, "RUN")
        .into_iter()
        .filter_map(|run| {
            run.split("&&")
                .find(|part| part.trim().starts_with("cargo "))
        })
        .map(str::trim)
        .collect();
    assert_eq!(builds.len(), 2, "{builds:?}");
    assert_eq!(
        builds[0], builds[1],
        "flags differ, so all would be compiled twice"
    );
    let stage = instructions
        .iter()
        .position(|(_, rest)| rest.ends_with(" AS dependencies"));
    let (word, copied) = &instructions[stage.expect("the stage") + 1];
    assert_eq!(
        (&**word, &**copied),
        ("COPY", "--from=manifests /manifests .")
    );

    let out = tempfile::tempdir().unwrap();
    let made = Command::new(docker().join("manifests"))
        .arg(out.path())
        .status()
        .unwrap();
    assert!(made.success());
    let files = files(out.path(), out.path());
    for file in &files {
        let kept = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"];
        let stub = ["src/lib.rs", "src/main.rs"]
            .iter()
            .any(|stub| file.ends_with(stub));
        let size = std::fs::metadata(out.path().join(file)).unwrap().len();
        assert!(
            kept.iter().any(|kept| file.ends_with(kept)) || (stub && size < 20),
            "{file}"
        );
    }
    assert!(files.contains("state/Cargo.toml") && files.contains("apps/sentiment/src/main.rs"));
    // Cargo takes it for a workspace, and the lock file for its own.
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "-p",
            "sentiment",
        ])
        .current_dir(out.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&tree.stdout);
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    assert!(told.contains("librocksdb-sys "), "{told}");
}

fn files(root: &Path, folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(root, &path));
        } else {
            found.insert(
                path.strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    found
}

fn ready(address: &str) -> bool {
    let mut ready = Command::new(docker().join("ready"));
    ready
        .arg(address)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    ready.status().unwrap().success()
}

#[test]
fn the_health_check_tells_ready_from_not_ready_and_from_gone() {
    let state = tempfile::tempdir().unwrap();
    let (mut program, address) = flagship::start(state.path(), 100).unwrap();
    let mut asked = 0;
    while !ready(&address) {
        asked += 1;
        assert!(asked < 200, "the flagship never becomes ready");
        program.runs_on(Duration::from_millis(50)).unwrap();
    }
    drop(program);
    assert!(!ready(&address), "nobody is there any more");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 256];
        let length = stream.read(&mut request).unwrap();
        stream
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    assert!(!ready(&address), "503 is not ready");
    let request = answer.join().unwrap();
    assert!(request.starts_with("GET /readyz HTTP/1.1\r\n"), "{request}");
}
