//! Kafka Streams as the oracle: what it made of the golden programs, and makes of random ones, is
//! what we make of them.

use millstream_tests::{
    cases::OnLog,
    golden::{
        Answer, Output, Peer, Program, cases, compare,
        coverage::{Records, coverage, one_for_each},
        differences, fuzz, grammar,
        judge::{self, Golden},
        op::{Op, Side},
        peer::Stores,
    },
    servers::{self, Kind},
};
use std::collections::{BTreeMap, BTreeSet};

/// Random programs in each run of the tests; the fuzzer has as many as one likes.
const SCRIPTS: u64 = 300;

/// The fewest outputs that the scripts of a golden program have together: one that hardly tells
/// anything could do anything else.
const OUTPUTS: usize = 5;

/// So many random programs have every operator there is.
const GRAMMAR: u64 = 20_000;

#[test]
fn our_test_driver_makes_of_every_golden_program_what_kafka_streams_did() {
    let mut wrong = String::new();
    let mut programs = 0;
    for (file, captured) in cases::captured().unwrap() {
        for program in &captured {
            programs += 1;
            let theirs = Ok(cases::answer(program).unwrap());
            if let Some(told) = compare::outcome(program, fuzz::ours(program), &theirs) {
                let line = program.question().unwrap();
                wrong += &format!("{file}, {}:\n{told}{line}\n\n", program.name);
            }
        }
    }
    assert!(programs > 0, "no golden programs");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_runtime_on_the_embedded_log_makes_of_every_golden_program_what_kafka_streams_did() {
    let wrong = judge::differences(&judge::all().unwrap(), &OnLog::embedded).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_runtime_on_a_kafka_cluster_makes_of_golden_programs_what_kafka_streams_did() {
    if !servers::runs("golden programs on Kafka", &[Kind::Kafka]) {
        return;
    }
    let cluster = servers::kafka().unwrap().bootstrap_servers();
    let mut all = judge::all().unwrap();
    all.retain(Golden::fits_a_cluster);
    // All of them take a quarter of an hour: `golden --kafka`.
    let some = one_for_each(&all).unwrap();
    let wrong = judge::differences_on_kafka(&some, &cluster).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_golden_files_have_every_operator_with_every_kind_of_records() {
    let all = judge::all().unwrap();
    let golden = coverage(all.iter().map(|golden| &golden.program)).unwrap();
    let random: Vec<_> = (0..GRAMMAR).map(grammar::program).collect();
    let random = coverage(&random).unwrap();
    let names = |covered: &BTreeMap<String, _>| covered.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&golden), names(&random), "golden and random programs");
    let lacking = golden.iter().flat_map(|(operator, records)| {
        let lacking = Records::ALL
            .into_iter()
            .filter(|wanted| !records.contains(wanted));
        lacking.map(move |wanted| format!("{operator} with {wanted:?}"))
    });
    let lacking: Vec<_> = lacking.collect();
    assert!(lacking.is_empty(), "no golden {}", lacking.join(", "));
}

#[test]
fn the_golden_files_have_every_program_that_is_planned() {
    let captured = cases::captured().unwrap();
    for (file, planned) in cases::planned().unwrap() {
        let lines = |programs: &[Program]| {
            let lines = programs.iter().map(Program::question);
            lines.collect::<anyhow::Result<Vec<_>>>().unwrap()
        };
        let there = captured.get(&file).cloned().unwrap_or_default();
        assert!(
            lines(&planned) == lines(&there),
            "{file}: run the golden binary"
        );
    }
}

#[test]
fn every_golden_program_has_outputs_that_can_be_wrong() {
    let mut captured = cases::captured().unwrap();
    // Each of those is one script, and as small as can be.
    captured.remove("found");
    for (file, programs) in &captured {
        let mut outputs = BTreeMap::<&str, usize>::new();
        for program in programs {
            let answer = cases::answer(program).unwrap();
            let (name, _script) = program.name.rsplit_once(", ").unwrap();
            let told = answer.outputs.values().map(Vec::len).sum();
            // To stop is an answer as well.
            let stops = answer.failed.is_some();
            *outputs.entry(name).or_default() += if stops { OUTPUTS } else { told };
        }
        outputs.retain(|_, outputs| *outputs < OUTPUTS);
        assert_eq!(outputs, BTreeMap::new(), "too few in {file}");
    }
}

#[test]
fn joins_of_windows_replace_rows_and_take_rows_back() {
    let captured = cases::captured().unwrap();
    let (mut replaced, mut taken_back) = (BTreeSet::new(), BTreeSet::new());
    for program in &captured["window_tables"] {
        let inner = |op: &Op| matches!(op, Op::Join(join) if join.kind == Side::Inner);
        if !program.nodes.iter().any(inner) {
            continue;
        }
        let mut rows = BTreeSet::new();
        for output in cases::answer(program).unwrap().outputs.values().flatten() {
            let there = match output.value {
                Some(_) => !rows.insert(&output.key),
                None => rows.remove(&output.key),
            };
            if there {
                let told = match output.value {
                    Some(_) => &mut replaced,
                    None => &mut taken_back,
                };
                told.insert(&program.name);
            }
        }
    }
    assert!(replaced.len() >= OUTPUTS, "replaced in {replaced:?}");
    assert!(taken_back.len() >= OUTPUTS, "taken back in {taken_back:?}");
}

#[test]
fn an_answer_that_is_another_is_a_difference() {
    let captured = cases::captured().unwrap();
    let program = &captured["tables"][0];
    let right = cases::answer(program).unwrap();
    assert_eq!(compare::difference(program, &right, &right), None);
    let differs = |change: &dyn Fn(&mut Answer)| {
        let mut wrong = right.clone();
        change(&mut wrong);
        compare::difference(program, &wrong, &right).is_some()
    };
    let output = |answer: &mut Answer, change: &dyn Fn(&mut Vec<Output>)| {
        answer.outputs.values_mut().for_each(change);
    };
    assert!(differs(&|answer| answer.dropped += 1));
    assert!(differs(&|answer| output(answer, &|records| drop(
        records.pop()
    ))));
    assert!(differs(
        &|answer| output(answer, &|records| records.swap(0, 1))
    ));
    assert!(differs(&|answer| answer.outputs.clear()));
}

#[test]
fn what_a_program_made_before_it_stopped_is_compared() {
    let all = judge::all().unwrap();
    let mut compared = 0;
    for program in all.iter().map(|golden| &golden.program) {
        let theirs = cases::answer(program).unwrap();
        let Some(before) = &theirs.before else {
            continue;
        };
        let ours = fuzz::ours(program).unwrap();
        assert_eq!(compare::difference(program, &ours, &theirs), None);
        let differs = |change: &dyn Fn(&mut Answer)| {
            let mut wrong = ours.clone();
            change(&mut wrong);
            compare::difference(program, &wrong, &theirs).is_some()
        };
        let nothing = |answer: &mut Answer| answer.outputs.values_mut().for_each(Vec::clear);
        assert!(differs(&|answer| answer.before = None));
        if before.outputs.values().all(Vec::is_empty) {
            continue;
        }
        compared += 1;
        assert!(differs(&nothing), "{}", program.name);
        assert!(differs(&|answer| nothing(answer.before.as_mut().unwrap())));
        assert!(differs(&|answer| {
            nothing(answer);
            nothing(answer.before.as_mut().unwrap());
        }));
    }
    assert!(
        compared >= 4,
        "{compared} programs had made something by then"
    );
}

#[test]
fn every_difference_says_why() {
    for known in differences::known().unwrap() {
        for text in [&known.kafka, &known.here, &known.why, &known.handled] {
            assert!(text.trim().ends_with('.'), "not a sentence: {text:?}");
        }
    }
}

#[test]
fn kafka_streams_still_makes_of_the_golden_programs_what_was_captured() {
    if !servers::runs("golden programs on Kafka Streams", &[Kind::Kafka]) {
        return;
    }
    let mut peer = Peer::start(Stores::Memory).unwrap();
    for (file, captured) in cases::captured().unwrap() {
        let answers = peer.ask(&captured).unwrap();
        for (program, answer) in captured.iter().zip(answers) {
            let captured = cases::answer(program).unwrap();
            let told = match answer {
                Ok(now) => compare::change(program, &captured, &now),
                Err(objection) => Some(objection.to_string()),
            };
            assert_eq!(told, None, "{file}, {}", program.name);
        }
    }
}

#[test]
fn our_test_driver_makes_of_random_programs_what_kafka_streams_makes() {
    if !servers::runs("random programs on Kafka Streams", &[Kind::Kafka]) {
        return;
    }
    let mut peer = Peer::start(Stores::Memory).unwrap();
    let report = fuzz::fuzz(&mut peer, 1, SCRIPTS, 3).unwrap();
    for difference in &report.differences {
        let line = serde_json::to_string(&difference.small).unwrap();
        println!("seed {}:\n{}{line}\n", difference.seed, difference.told);
    }
    assert!(report.differences.is_empty());
    // What is refused is not compared.
    assert!(
        report.compared >= SCRIPTS * 9 / 10,
        "{} compared",
        report.compared
    );
}
