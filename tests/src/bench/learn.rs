//! One pass over 25,000 reviews: what the learner says and costs, beside Vowpal Wabbit, and what
//! the whole flagship costs above its learner.
//!
//! Every run is three processes on the same machine in the same minute: the learner alone, the
//! flagship as its users start it, and Vowpal Wabbit where `tests/setup/peers` has put it. The
//! texts are in memory before the learner's meter starts; the flagship's covers all that it does.

use super::{Bench, Figures, Meter, RUNS, Scene};
use anyhow::{Context, Result, bail};
use millstream_learn::{
    Example, TextClassifier,
    features::{
        TextFeatures,
        text::{TextOptions, Tokens},
    },
    grades::BinaryGrades,
    linear::LogisticRegression,
    optim::AdaGrad,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(super) const IMDB: Bench = Bench {
    name: "learn_imdb",
    runs,
    child,
};

/// The rate of the flagship.
const RATE: f64 = 0.5;
/// Over how many texts the rolling grades go, as in the flagship.
const ROLLING: usize = 1_000;

fn runs(scene: &Scene) -> Result<Vec<Figures>> {
    let sentences = scene.child("sentences", scene.directory())?;
    let run = |_| {
        let learner = scene.child("learner", scene.directory())?;
        let flagship = flagship()?;
        let mut figures = learner.clone();
        let cost = |figures: &Figures| 1e6 / figures["records_per_cpu_second"];
        figures.insert("learner_us_per_record".to_owned(), cost(&learner));
        let ratio = cost(&flagship) / cost(&learner);
        figures.insert("flagship_to_learner_cpu".to_owned(), ratio);
        figures.insert("flagship_max_rss_mb".to_owned(), flagship["max_rss_mb"]);
        figures.insert("flagship_log_loss".to_owned(), flagship["log_loss"]);
        figures.insert("sentences_accuracy".to_owned(), sentences["accuracy"]);
        if let Some(peer) = vowpal_wabbit()? {
            figures.insert("vw_us_per_record".to_owned(), cost(&peer));
            figures.insert("vw_log_loss".to_owned(), peer["log_loss"]);
            let ratio = cost(&learner) / cost(&peer);
            figures.insert("learner_to_vw_cpu".to_owned(), ratio);
        }
        Ok(figures)
    };
    (0..RUNS).map(run).collect()
}

fn child(part: &str, _: &Path) -> Result<Figures> {
    match part {
        "learner" => learn("imdb-mixed.tsv", TextOptions::default(), RATE),
        "sentences" => {
            // What River's documentation calls a bag of words: short sentences share few pairs.
            let unigrams = TextOptions {
                tokens: Tokens::Plain,
                bigrams: false,
                ..TextOptions::default()
            };
            learn("sentences-mixed.tsv", unigrams, AdaGrad::default().rate)
        }
        other => bail!("no part {other:?}"),
    }
}

/// Predicts, grades and learns every line of a file.
fn learn(file: &str, options: TextOptions, rate: f64) -> Result<Figures> {
    let path = cache()?.join("data").join(file);
    let text = fs::read_to_string(&path)
        .with_context(|| format!("{}: run apps/sentiment/fetch-data", path.display()))?;
    let examples = text.lines().map(|line| {
        let (label, text) = line.split_once('\t').context("a line without a tab")?;
        Ok(Example::labelled(text.to_owned(), label == "1"))
    });
    let examples: Vec<_> = examples.collect::<Result<_>>()?;
    let features = TextFeatures::new(options);
    let learner = LogisticRegression::new(features.options().bits, AdaGrad { rate });
    let grades = BinaryGrades::new(ROLLING);
    let mut model = TextClassifier::from_parts("bench", features, learner, grades);
    let meter = Meter::start()?;
    for example in &examples {
        model.process(example);
    }
    let mut figures = meter.figures(examples.len() as u64)?;
    let grades = model.grades();
    let found = [
        ("accuracy", grades.accuracy()),
        ("log_loss", grades.log_loss()),
        ("auc", grades.auc()),
    ];
    for (name, value) in found {
        figures.insert(name.to_owned(), value.context("nothing was graded")?);
    }
    Ok(figures)
}

/// The flagship, from start to exit, as the binary beside this one.
fn flagship() -> Result<Figures> {
    let program = std::env::current_exe()?.with_file_name("sentiment");
    let state = tempfile::tempdir()?;
    let mut command = Command::new(&program);
    // What a bench is told by such variables is no setting of the program's.
    let variables = std::env::vars_os().map(|(name, _)| name);
    for name in variables.filter(|name| name.to_string_lossy().starts_with("MILLSTREAM")) {
        command.env_remove(name);
    }
    let output = command
        .args([
            "run",
            "--until-caught-up",
            "--no-http",
            "-o",
            "json",
            "--input",
        ])
        .arg(cache()?.join("data/imdb-mixed.tsv"))
        .arg("--state-dir")
        .arg(state.path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}: build it with -p sentiment", program.display()))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("the flagship ended with {}: {told}", output.status);
    }
    let told = String::from_utf8(output.stdout)?;
    let last = told.lines().last().context("the flagship said nothing")?;
    let told: serde_json::Value = serde_json::from_str(last)?;
    let number =
        |name: &str| (told[name].as_f64()).with_context(|| format!("the flagship says no {name}"));
    let rate = number("records")? / number("cpu_seconds")?;
    let mut figures = Figures::from([("records_per_cpu_second".to_owned(), rate)]);
    for name in ["max_rss_mb", "log_loss"] {
        figures.insert(name.to_owned(), number(name)?);
    }
    Ok(figures)
}

/// The same texts and features in Vowpal Wabbit; none where it is not installed.
fn vowpal_wabbit() -> Result<Option<Figures>> {
    let python = cache()?.join("peers/bin/python");
    if !python.exists() {
        return Ok(None);
    }
    let output = Command::new(python)
        .args(["-c", include_str!("vw.py")])
        .arg(cache()?.join("data/imdb-mixed.tsv"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("Vowpal Wabbit")?;
    let told = String::from_utf8(output.stdout)?;
    let last = told.lines().last().context("Vowpal Wabbit said nothing")?;
    Ok(Some(serde_json::from_str(last)?))
}

/// Where set-up puts what it fetches.
fn cache() -> Result<PathBuf> {
    let root = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")),
        |set| Some(PathBuf::from(set)),
    );
    Ok(root
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("millstream"))
}
