//! Streams printed as lines: what they say, in whose name, and what becomes of lines that cannot be
//! written.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{prelude::*, task::TaskConfig};
use std::{
    io::{self, Write},
    sync::{Arc, Barrier, Mutex},
    thread,
};

static WORDS: Topic<String, u64> = Topic::new("words", utf8(), u64_be());

/// A page to write on, which takes so many more bytes, and only one at a time.
#[derive(Clone, Default)]
struct Page {
    written: Arc<Mutex<Vec<u8>>>,
    room: Option<usize>,
}

impl Page {
    fn of(room: usize) -> Self {
        Self {
            room: Some(room),
            ..Self::default()
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.room {
            Some(0) => return Err(io::ErrorKind::BrokenPipe.into()),
            Some(room) => *room -= 1,
            None => {}
        }
        self.written.lock().unwrap().push(bytes[0]);
        // Whoever is to come between comes now.
        thread::yield_now();
        Ok(1)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn driver(policy: ErrorPolicy, declare: impl FnOnce(&StreamsBuilder)) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let config = TaskConfig {
        policies: policy.into(),
        ..TaskConfig::new("app")
    };
    TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap()
}

#[test]
fn a_line_says_label_key_and_value() {
    let page = Page::default();
    let printed = Printed::to_writer(page.clone());
    let mut driver = driver(ErrorPolicy::Fail, |builder| {
        let words = builder.stream(&WORDS);
        words.print(printed.clone());
        words
            .filter(|_, _| true)
            .named("kept")
            .print(printed.clone());
        words
            .to_table("rows")
            .to_stream()
            .print(printed.clone().with_label("rows"));
        let text = |word: &String, count: &u64| format!("{word} x {count}");
        words.print(printed.with_label("text").with_key_value_mapper(text));
    });
    driver.pipe(&WORDS, "a\n".to_owned(), 7, 0).unwrap();
    let expected = "[source-words]: \"a\\n\", 7\n\
                    [kept]: \"a\\n\", 7\n\
                    [rows]: \"a\\n\", Some(7)\n\
                    [text]: a\n x 7\n";
    assert_eq!(page.text(), expected);
}

/// Neither key nor value need be shown where the program has a text of its own.
#[test]
fn what_has_no_debug_is_printed_by_a_mapper() {
    #[derive(Clone)]
    struct Secret(u64);
    let page = Page::default();
    let printed = Printed::to_writer(page.clone());
    let mut driver = driver(ErrorPolicy::Fail, |builder| {
        let secrets = builder.stream(&WORDS).map_values(Secret);
        let text = |_: &String, secret: &Secret| "*".repeat(usize::try_from(secret.0).unwrap());
        secrets.print(printed.with_key_value_mapper(text).with_label("secrets"));
    });
    driver.pipe(&WORDS, "a".to_owned(), 3, 0).unwrap();
    assert_eq!(page.text(), "[secrets]: ***\n");
}

#[test]
fn printing_has_a_name_of_its_own() {
    let builder = StreamsBuilder::new();
    let printed = Printed::to_writer(Page::default());
    builder.stream(&WORDS).print(printed.clone());
    builder.stream(&WORDS).print(printed.named("shown"));
    let topology = builder.build().unwrap();
    let names: Vec<_> = topology
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert!(names.contains(&"print-after-source-words"), "{names:?}");
    assert!(names.contains(&"shown"), "{names:?}");
}

#[test]
fn a_line_that_cannot_be_written_is_a_refused_record() {
    let line = "[w]: \"a\", 1\n";
    let declare = |policy: Option<ErrorPolicy>, page: &Page| {
        let mut printed = Printed::to_writer(page.clone()).with_label("w");
        if let Some(policy) = policy {
            printed = printed.on_error(policy);
        }
        move |builder: &StreamsBuilder| builder.stream(&WORDS).print(printed)
    };
    let pipe = |driver: &mut TopologyTestDriver| driver.pipe(&WORDS, "a".to_owned(), 1, 0);

    let page = Page::of(line.len() + 3);
    let mut stops = driver(ErrorPolicy::Fail, declare(None, &page));
    pipe(&mut stops).unwrap();
    let error = pipe(&mut stops).unwrap_err().to_string();
    assert!(error.contains("a line cannot be printed"), "{error}");
    assert!(error.contains("print-after-source-words"), "{error}");
    assert_eq!(page.text(), format!("{line}[w]"));

    let page = Page::of(line.len());
    let mut goes_on = driver(ErrorPolicy::Fail, declare(Some(ErrorPolicy::Skip), &page));
    (0..3).for_each(|_| pipe(&mut goes_on).unwrap());
    assert_eq!(goes_on.dropped().processing, 2);
    assert_eq!(page.text(), line);
}

#[test]
fn a_pipe_that_nobody_reads_is_an_error() {
    let (reader, writer) = io::pipe().unwrap();
    let mut driver = driver(ErrorPolicy::Fail, |builder| {
        builder.stream(&WORDS).print(Printed::to_writer(writer));
    });
    driver.pipe(&WORDS, "a".to_owned(), 1, 0).unwrap();
    drop(reader);
    let error = driver.pipe(&WORDS, "a".to_owned(), 1, 0).unwrap_err();
    assert!(error.to_string().contains("Broken pipe"), "{error}");
}

#[test]
fn lines_of_several_threads_are_whole() {
    let page = Page::default();
    let printed = Printed::to_writer(page.clone());
    let start = Arc::new(Barrier::new(4));
    let threads = (0..4_u64).map(|number| {
        let (printed, start) = (printed.clone(), start.clone());
        thread::spawn(move || {
            let mut driver = driver(ErrorPolicy::Fail, |builder| {
                builder.stream(&WORDS).print(printed.with_label("w"));
            });
            start.wait();
            for _ in 0..200 {
                driver.pipe(&WORDS, "key".to_owned(), number, 0).unwrap();
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let text = page.text();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let expected = (0..4).flat_map(|number| vec![format!("[w]: \"key\", {number}"); 200]);
    assert_eq!(lines, expected.collect::<Vec<_>>());
}
